using System.Runtime.InteropServices;
using Vmm.Devices.Bus;
using Vmm.Devices.Legacy;
using Vmm.Host;
using Vmm.Insight.Recorder;
using Vmm.Kvm;
using Vmm.Kvm.Abi;
using Vmm.Tests.Shared;

namespace Vmm.Tests.Profiling;

/// <summary>Hands the recorder exits that the tests made up.</summary>
public sealed unsafe class ExitRecorderTests : IDisposable
{
    private readonly KvmRun* _run = (KvmRun*)NativeMemory.AllocZeroed(4096);
    private readonly AddressBus _ports = new("port");
    private readonly AddressBus _mmio = new("mmio");
    private readonly Detail _detail = new();
    private readonly Serial16550 _serial = new("COM1", new Sink(), new Line());
    private readonly ExitRecorder _recorder;

    public ExitRecorderTests()
    {
        _ports.Add(0x3f8, 8, _serial);
        _recorder = new ExitRecorder(_run, _ports, _mmio, _detail, trace: null);
        _recorder.Begin();
    }

    public void Dispose() => NativeMemory.Free(_run);

    [Fact]
    public void Exits_are_distinguished_by_register_direction_and_size()
    {
        Port(0x3f8, write: true, 1);
        Port(0x3f8, write: true, 1);
        Port(0x3f8, write: false, 1);
        Port(0x3fd, write: false, 1);
        Port(0x3f8, write: true, 2);
        Assert.Equal(
            [("COM1 THR write 1", 2L), ("COM1 RBR read 1", 1L), ("COM1 LSR read 1", 1L), ("COM1 THR write 2", 1L)], Rows());
    }

    [Fact]
    public void A_register_behind_another_has_its_own_name()
    {
        Port(0x3f8, write: true, 1);
        _serial.Write(3, [0x80]);                       // LCR.DLAB
        Port(0x3f8, write: true, 1);
        _serial.Write(3, [0]);
        Port(0x3f8, write: true, 1);
        Assert.Equal([("COM1 THR write 1", 2L), ("COM1 DLL write 1", 1L)], Rows());
    }

    [Fact]
    public void A_device_that_moves_takes_its_name_with_it()
    {
        BusRange range = _mmio.Add(0x1000, 0x100, new NullPort("first"));
        Memory(0x1004);
        _mmio.Remove(range);
        Memory(0x1004);
        _mmio.Add(0x1000, 0x100, new NullPort("second"));
        Memory(0x1004);
        Assert.Equal(
            [("first 0x1004 read 4", 1L), ("nobody 0x1004 read 4", 1L), ("second 0x1004 read 4", 1L)], Rows());
    }

    [Fact]
    public void Instructions_MSRs_and_interruptions_have_names()
    {
        _run->ExitReason = KvmExitReason.KVM_EXIT_INTERNAL_ERROR;
        _run->InternalSuberror = 1;
        _detail.LastInstruction = 7;
        Exit();
        _run->InternalSuberror = 3;
        Exit();
        _run->ExitReason = KvmExitReason.KVM_EXIT_X86_WRMSR;
        _run->MsrIndex = 0xc000_0082;
        Exit();
        _run->MsrIndex = 0x1234;
        Exit();
        _run->ExitReason = KvmExitReason.KVM_EXIT_INTR;
        _recorder.Interrupted(ErrnoException.EINTR);
        _recorder.Interrupted(ErrnoException.EINTR);    // the page has not changed since
        _recorder.Interrupted(ErrnoException.EAGAIN);
        Assert.Equal(
            ["assist instruction 7", "INTERNAL_ERROR suberror 3", "X86_WRMSR LSTAR write 8", "X86_WRMSR MSR 0x1234 write 8",
             "INTR signal", "INTR immediate_exit", "INTR EAGAIN"],
            Rows().Select(row => row.Name));
    }

    [Fact]
    public void A_guest_that_touches_everything_gets_a_table_of_fixed_size()
    {
        const int Ports = 0x1_0000;
        for (int port = 0; port < Ports; port++)
        {
            Port((ushort)port, write: false, 1);
        }

        for (int i = 0; i < ExitKeys.Capacity * 2; i++)
        {
            Memory(0x10_0000UL + ((ulong)i * 8));
        }

        Assert.InRange(_recorder.Rows.Count, ExitRecorder.MostUnclaimedRows, ExitRecorder.MostRows + 8);
        Assert.Equal(Ports + (ExitKeys.Capacity * 2), _recorder.Rows.Sum(row => row.InVmm.Count));
        Assert.Contains(_recorder.Rows, row => row.Name.ToString() == "COM1 LSR read 1");
        Assert.Equal(
            ["IO", "MMIO"],
            _recorder.Rows.Where(row => row.Name.What == ExitRecorder.OtherAddresses).Select(row => row.Name.Reason));
    }

    [Fact]
    public void Known_exits_allocate_nothing()
    {
        Port(0x3f8, write: true, 1);
        Memory(0x1000);
        Assert.Equal(0, Allocations.Least(() =>
        {
            for (int i = 0; i < 1000; i++)
            {
                Port(0x3f8, write: true, 1);
                Memory(0x1000);
            }
        }));
    }

    [Fact]
    public void Totals_are_the_sums_of_the_rows()
    {
        for (int i = 0; i < 100; i++)
        {
            Port((ushort)(0x3f8 + (i % 8)), write: i % 3 == 0, 1);
        }

        Assert.Equal(100, _recorder.Exits);
        Assert.Equal(_recorder.Rows.Sum(row => row.InVmm.Sum), _recorder.VmmTime);
        Assert.NotEqual(0, _recorder.FirstExit);
    }

    private void Port(ushort port, bool write, byte size)
    {
        _run->ExitReason = KvmExitReason.KVM_EXIT_IO;
        _run->IoDirection = write ? (byte)1 : (byte)0;
        _run->IoPort = port;
        _run->IoSize = size;
        Exit();
    }

    private void Memory(ulong address)
    {
        _run->ExitReason = KvmExitReason.KVM_EXIT_MMIO;
        _run->MmioPhysAddr = address;
        _run->MmioLen = 4;
        _run->MmioIsWrite = 0;
        Exit();
    }

    private void Exit()
    {
        _recorder.Left();
        _recorder.Handled();
    }

    private IEnumerable<(string Name, long Count)> Rows() =>
        _recorder.Rows.Select(row => (row.Name.ToString(), row.InVmm.Count));

    private sealed class Detail : IExitDetail
    {
        public int LastInstruction { get; set; }
        public string NameOf(int instruction) => $"instruction {instruction}";
    }

    private sealed class Sink : ISerialOutput
    {
        public int Write(ReadOnlySpan<byte> bytes) => bytes.Length;
    }

    private sealed class Line : IInterruptLine
    {
        public void SetLevel(bool asserted)
        {
        }
    }
}

using System.Runtime.InteropServices;
using Vmm.Devices.Bus;
using Vmm.Kvm;
using Vmm.Kvm.Abi;
using Vmm.Machines;
using Vmm.Tests.Shared;

namespace Vmm.Tests.Kvm;

/// <summary>Hands the exit handler exits that the tests made up.</summary>
public sealed unsafe class ExitHandlerTests : IDisposable
{
    private const int PageSize = 8192;
    private const int DataOffset = 4096;

    private readonly KvmRun* _run = (KvmRun*)NativeMemory.AllocZeroed(PageSize);
    private readonly AddressBus _ports = new("port");
    private readonly AddressBus _mmio = new("mmio");
    private readonly Recorder _device = new();
    private readonly FakeAssist _assist = new();
    private readonly ExitHandler _handler;

    public ExitHandlerTests()
    {
        _ports.Add(0x3f8, 8, _device);
        _mmio.Add(0xd100_0000, 0x1000, _device);
        _handler = new ExitHandler(_run, _ports, _mmio, _assist);
    }

    public void Dispose() => NativeMemory.Free(_run);

    [Theory]
    [InlineData(1)]
    [InlineData(2)]
    [InlineData(4)]
    public void An_output_reaches_the_device_with_its_width(byte size)
    {
        Port(isWrite: true, size, 0x3f9, count: 1, [0x11, 0x22, 0x33, 0x44]);
        Assert.Null(_handler.Handle());
        Assert.Equal(1UL, _device.Offset);
        Assert.Equal(new byte[] { 0x11, 0x22, 0x33, 0x44 }[..size], _device.Written);
    }

    [Fact]
    public void A_string_output_is_one_access_for_each_element()
    {
        Port(isWrite: true, 2, 0x3f8, count: 3, [1, 2, 3, 4, 5, 6]);
        Assert.Null(_handler.Handle());
        Assert.Equal([1, 2, 3, 4, 5, 6], _device.Written);
        Assert.Equal(3, _device.Accesses);
    }

    [Fact]
    public void An_input_comes_back_in_the_page()
    {
        Port(isWrite: false, 4, 0x3f8, count: 1, [0, 0, 0, 0]);
        Assert.Null(_handler.Handle());
        Assert.Equal([0xa0, 0xa1, 0xa2, 0xa3], new ReadOnlySpan<byte>((byte*)_run + DataOffset, 4).ToArray());
    }

    [Fact]
    public void A_port_without_a_device_reads_as_ones()
    {
        Port(isWrite: false, 2, 0x1234, count: 1, [0, 0]);
        Assert.Null(_handler.Handle());
        Assert.Equal([0xff, 0xff], new ReadOnlySpan<byte>((byte*)_run + DataOffset, 2).ToArray());
        Assert.Equal(1, _ports.Unclaimed);
    }

    [Fact]
    public void Memory_accesses_reach_their_device()
    {
        _run->ExitReason = KvmExitReason.KVM_EXIT_MMIO;
        _run->MmioPhysAddr = 0xd100_0070;
        _run->MmioLen = 4;
        Assert.Null(_handler.Handle());
        Assert.Equal(0x70UL, _device.Offset);
        Assert.Equal([0xa0, 0xa1, 0xa2, 0xa3], new ReadOnlySpan<byte>(_run->MmioData, 4).ToArray());
    }

    [Fact]
    public void A_length_that_KVM_never_gives_stays_inside_the_page()
    {
        _run->ExitReason = KvmExitReason.KVM_EXIT_MMIO;
        _run->MmioPhysAddr = 0xd100_0000;
        _run->MmioLen = uint.MaxValue;
        _run->MmioIsWrite = 1;
        Assert.Null(_handler.Handle());
        Assert.Equal(8, _device.Written.Count);
    }

    [Theory]
    [InlineData((int)KvmExitReason.KVM_EXIT_SHUTDOWN, "triple fault")]
    [InlineData((int)KvmExitReason.KVM_EXIT_FAIL_ENTRY, "refused")]
    [InlineData(999, "999")]
    public void What_cannot_go_on_ends_the_machine_as_a_crash(int reason, string says)
    {
        _run->ExitReason = (KvmExitReason)reason;
        MachineEnd end = MachineEnd.For(_handler.Handle()!);
        Assert.Equal(ExitCodes.GuestCrashed, end.ExitCode);
        Assert.Contains(says, end.Message, StringComparison.Ordinal);
        Assert.Contains("at some RIP", end.Message, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData(0x8000_0021, "0x80000021; VT-x: the guest's state is invalid")]
    [InlineData(ulong.MaxValue, "AMD-V: the guest's state is invalid")]
    [InlineData(0x1234, "0x1234; not in the manuals")]
    public void A_refused_entry_is_explained(ulong reason, string says)
    {
        _run->ExitReason = KvmExitReason.KVM_EXIT_FAIL_ENTRY;
        _run->FailEntryHardwareEntryFailureReason = reason;
        Assert.Contains(says, _handler.Handle()!.Detail, StringComparison.Ordinal);
    }

    [Fact]
    public void An_emulation_failure_goes_to_the_assist_with_its_bytes()
    {
        _run->ExitReason = KvmExitReason.KVM_EXIT_INTERNAL_ERROR;
        _run->InternalSuberror = 1;
        _run->InternalNdata = 4;
        _run->EmulationFailureFlags = 1;
        _run->EmulationFailureInsnSize = 3;
        _run->EmulationFailureInsnBytes[0] = 0x0f;
        _run->EmulationFailureInsnBytes[1] = 0x01;
        _run->EmulationFailureInsnBytes[2] = 0xca;
        Assert.Null(_handler.Handle());
        Assert.Equal([0x0f, 0x01, 0xca], _assist.Bytes);

        _run->EmulationFailureInsnSize = 255;
        Assert.Null(_handler.Handle());
        Assert.Equal(15, _assist.Bytes.Length);

        _run->EmulationFailureFlags = 0;
        Assert.Null(_handler.Handle());
        Assert.Empty(_assist.Bytes);
    }

    [Fact]
    public void An_msr_that_the_assist_does_not_take_is_an_error_for_the_guest()
    {
        _run->ExitReason = KvmExitReason.KVM_EXIT_X86_WRMSR;
        Assert.Null(_handler.Handle());
        Assert.Equal(1, _run->MsrError);
        _assist.TakesMsr = true;
        Assert.Null(_handler.Handle());
        Assert.Equal(0, _run->MsrError);
    }

    [Fact]
    public void Exits_are_counted_by_reason_and_cost_no_allocation()
    {
        Port(isWrite: true, 1, 0x80, count: 1, [0]);
        int exits = 0;
        Assert.Equal(0, Allocations.Least(() =>
        {
            for (int i = 0; i < 1000; i++)
            {
                _handler.Handle();
                exits++;
            }
        }));
        Assert.Equal(exits, _handler.Counts[(int)KvmExitReason.KVM_EXIT_IO]);
    }

    private void Port(bool isWrite, byte size, ushort port, uint count, ReadOnlySpan<byte> data)
    {
        _run->ExitReason = KvmExitReason.KVM_EXIT_IO;
        _run->IoDirection = isWrite ? (byte)1 : (byte)0;
        _run->IoSize = size;
        _run->IoPort = port;
        _run->IoCount = count;
        _run->IoDataOffset = DataOffset;
        data.CopyTo(new Span<byte>((byte*)_run + DataOffset, PageSize - DataOffset));
    }

    private sealed class Recorder : IBusDevice
    {
        public string Name => "recorder";
        public ulong Offset { get; private set; }
        public List<byte> Written { get; } = [];
        public int Accesses { get; private set; }

        public void Read(ulong offset, Span<byte> data)
        {
            (Offset, Accesses) = (offset, Accesses + 1);
            for (int i = 0; i < data.Length; i++)
            {
                data[i] = (byte)(0xa0 + i);
            }
        }

        public void Write(ulong offset, ReadOnlySpan<byte> data)
        {
            (Offset, Accesses) = (offset, Accesses + 1);
            Written.AddRange(data);
        }
    }

    private sealed class FakeAssist : IExitAssist
    {
        public byte[] Bytes { get; private set; } = [];
        public bool TakesMsr { get; set; }

        public GuestStop? Complete(ReadOnlySpan<byte> bytes)
        {
            Bytes = bytes.ToArray();
            return null;
        }

        public bool HandleMsr(bool isWrite) => TakesMsr;
        public GuestStop? AfterKick() => null;
        public string Where() => " at some RIP";
    }
}

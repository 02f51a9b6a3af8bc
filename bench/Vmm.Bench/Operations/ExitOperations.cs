using System.Runtime.InteropServices;
using Vmm.Devices.Bus;
using Vmm.Host;
using Vmm.Insight.Profile;
using Vmm.Insight.Recorder;
using Vmm.Kvm;
using Vmm.Kvm.Abi;

namespace Vmm.Bench.Operations;

/// <summary>What vmm adds to an exit once KVM_RUN has come back: made-up exits, handled.</summary>
internal static class ExitOperations
{
    public const string Group = "ExitHandler";

    public static IReadOnlyList<OperationEntry> All { get; } =
    [
        new(Group, "port out", () => new MadeUp(KvmExitReason.KVM_EXIT_IO, write: true)),
        new(Group, "port out, profiled", () => new MadeUp(KvmExitReason.KVM_EXIT_IO, write: true, profiled: true)),
        new(Group, "of a profile: the histogram", () => new Recorded()),
        new(Group, "of a profile: the clock, once", () => new Timed()),
        new(Group, "port in", () => new MadeUp(KvmExitReason.KVM_EXIT_IO, write: false)),
        new(Group, "MMIO write", () => new MadeUp(KvmExitReason.KVM_EXIT_MMIO, write: true)),
        new(Group, "MMIO read", () => new MadeUp(KvmExitReason.KVM_EXIT_MMIO, write: false)),
        new(Group, "RDMSR", () => new MadeUp(KvmExitReason.KVM_EXIT_X86_RDMSR, write: false)),
        new(Group, "WRMSR", () => new MadeUp(KvmExitReason.KVM_EXIT_X86_WRMSR, write: true)),
    ];

    private sealed unsafe class MadeUp : Operation
    {
        private const int PageSize = 8192, DataOffset = 4096;
        private const ushort Port = 0x80;
        private const ulong Address = 0xd000_0000;

        private readonly KvmRun* _run = (KvmRun*)NativeMemory.AllocZeroed(PageSize);
        private readonly ExitHandler _handler;
        private readonly ExitRecorder? _recorder;

        public MadeUp(KvmExitReason reason, bool write, bool profiled = false)
        {
            var ports = new AddressBus("port");
            var mmio = new AddressBus("mmio");
            ports.Add(Port, 1, new Sink());
            mmio.Add(Address, 0x1000, new Sink());
            _handler = new ExitHandler(_run, ports, mmio, new TakesAll());
            _recorder = profiled ? new ExitRecorder(_run, ports, mmio, new TakesAll(), trace: null) : null;

            // SAFETY: the page is as large as KVM's and lives until Dispose.
            _run->ExitReason = reason;
            switch (reason)
            {
                case KvmExitReason.KVM_EXIT_IO:
                    _run->IoDirection = write ? (byte)1 : (byte)0;
                    _run->IoSize = 1;
                    _run->IoPort = Port;
                    _run->IoCount = 1;
                    _run->IoDataOffset = DataOffset;
                    break;
                case KvmExitReason.KVM_EXIT_MMIO:
                    _run->MmioPhysAddr = Address;
                    _run->MmioLen = 4;
                    _run->MmioIsWrite = write ? (byte)1 : (byte)0;
                    break;
                default:
                    _run->MsrIndex = 0xc000_0082;
                    break;
            }
        }

        public override void Run(int count)
        {
            if (_recorder is null)
            {
                Loop(new NoProbe(), count);
            }
            else
            {
                Loop(new RecordingProbe(_recorder), count);
            }
        }

        protected override void Release() => NativeMemory.Free(_run);

        // As VcpuThread's loop is compiled: once without and once with a recorder.
        private void Loop<TProbe>(TProbe probe, int count)
            where TProbe : struct, IExitProbe
        {
            for (int i = 0; i < count; i++)
            {
                probe.Left();
                if (_handler.Handle() is not null)
                {
                    throw new InvalidOperationException("the exit ended the machine");
                }

                probe.Handled();
            }
        }
    }

    private sealed class Recorded : Operation
    {
        private readonly LatencyHistogram _histogram = new();

        public override void Run(int count)
        {
            for (int i = 0; i < count; i++)
            {
                _histogram.Record(i * 37);
            }
        }
    }

    private sealed class Timed : Operation
    {
        public long Last { get; private set; }

        public override void Run(int count)
        {
            for (int i = 0; i < count; i++)
            {
                Last = MonotonicClock.Now();
            }
        }
    }
}

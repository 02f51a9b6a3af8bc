using System.Runtime.InteropServices;
using Vmm.Devices.Bus;
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

        public MadeUp(KvmExitReason reason, bool write)
        {
            var ports = new AddressBus("port");
            var mmio = new AddressBus("mmio");
            ports.Add(Port, 1, new Sink());
            mmio.Add(Address, 0x1000, new Sink());
            _handler = new ExitHandler(_run, ports, mmio, new TakesAll());

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
            for (int i = 0; i < count; i++)
            {
                if (_handler.Handle() is not null)
                {
                    throw new InvalidOperationException("the exit ended the machine");
                }
            }
        }

        protected override void Release() => NativeMemory.Free(_run);
    }
}

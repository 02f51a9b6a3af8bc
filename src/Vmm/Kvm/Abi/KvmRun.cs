using System.Runtime.InteropServices;

namespace Vmm.Kvm.Abi;

/// <summary>struct kvm_run: the page that KVM and the vCPU thread share (KVM API section 5).</summary>
/// <remarks>The members of the C union lie side by side here under their C names with the union member as a prefix.
/// Only what vmm uses is declared; the offsets are proved by AbiTests.</remarks>
[StructLayout(LayoutKind.Explicit, Size = 2352)]
internal unsafe struct KvmRun
{
    public const int SyncRegsOffset = 304;

    [FieldOffset(0)] public byte RequestInterruptWindow;
    [FieldOffset(1)] public byte ImmediateExit;
    [FieldOffset(8)] public KvmExitReason ExitReason;
    [FieldOffset(12)] public byte ReadyForInterruptInjection;
    [FieldOffset(13)] public byte IfFlag;
    [FieldOffset(14)] public ushort Flags;
    [FieldOffset(16)] public ulong Cr8;
    [FieldOffset(24)] public ulong ApicBase;

    // KVM_EXIT_UNKNOWN
    [FieldOffset(32)] public ulong HwHardwareExitReason;

    // KVM_EXIT_FAIL_ENTRY
    [FieldOffset(32)] public ulong FailEntryHardwareEntryFailureReason;

    // KVM_EXIT_IO
    [FieldOffset(32)] public byte IoDirection;
    [FieldOffset(33)] public byte IoSize;
    [FieldOffset(34)] public ushort IoPort;
    [FieldOffset(36)] public uint IoCount;
    [FieldOffset(40)] public ulong IoDataOffset;

    // KVM_EXIT_MMIO
    [FieldOffset(32)] public ulong MmioPhysAddr;
    [FieldOffset(40)] public fixed byte MmioData[8];
    [FieldOffset(48)] public uint MmioLen;
    [FieldOffset(52)] public byte MmioIsWrite;

    // KVM_EXIT_INTERNAL_ERROR; for suberror KVM_INTERNAL_ERROR_EMULATION: kvm_run.emulation_failure
    [FieldOffset(32)] public uint InternalSuberror;
    [FieldOffset(36)] public uint InternalNdata;
    [FieldOffset(40)] public ulong EmulationFailureFlags;
    [FieldOffset(48)] public byte EmulationFailureInsnSize;
    [FieldOffset(49)] public fixed byte EmulationFailureInsnBytes[15];

    // KVM_EXIT_SYSTEM_EVENT
    [FieldOffset(32)] public uint SystemEventType;

    // KVM_EXIT_X86_RDMSR, KVM_EXIT_X86_WRMSR
    [FieldOffset(32)] public byte MsrError;
    [FieldOffset(40)] public uint MsrReason;
    [FieldOffset(44)] public uint MsrIndex;
    [FieldOffset(48)] public ulong MsrData;

    [FieldOffset(288)] public ulong KvmValidRegs;
    [FieldOffset(296)] public ulong KvmDirtyRegs;

    // kvm_run.s.regs (struct kvm_sync_regs)
    [FieldOffset(SyncRegsOffset)] public KvmRegs Regs;
    [FieldOffset(SyncRegsOffset + 144)] public KvmSregs Sregs;
    [FieldOffset(SyncRegsOffset + 456)] public KvmVcpuEvents Events;
}

using System.Runtime.InteropServices;

namespace Vmm.Kvm.Abi;

/// <summary>struct kvm_vcpu_events: exceptions, interrupts and NMIs on their way into the vCPU (KVM API 4.31).</summary>
[StructLayout(LayoutKind.Sequential)]
internal unsafe struct KvmVcpuEvents
{
    public byte ExceptionInjected;
    public byte ExceptionNr;
    public byte ExceptionHasErrorCode;
    public byte ExceptionPending;
    public uint ExceptionErrorCode;
    public byte InterruptInjected;
    public byte InterruptNr;
    public byte InterruptSoft;
    public byte InterruptShadow;
    public byte NmiInjected;
    public byte NmiPending;
    public byte NmiMasked;
    public byte NmiPad;
    public uint SipiVector;
    public uint Flags;
    public byte SmiSmm;
    public byte SmiPending;
    public byte SmiInsideNmi;
    public byte SmiLatchedInit;
    public byte TripleFaultPending;
    public fixed byte Reserved[26];
    public byte ExceptionHasPayload;
    public ulong ExceptionPayload;
}

/// <summary><c>struct kvm_mp_state</c> of &lt;linux/kvm.h&gt;, which is one number; values by their C names.</summary>
internal enum KvmMpState : uint
{
    KVM_MP_STATE_RUNNABLE = 0,
    KVM_MP_STATE_UNINITIALIZED = 1,
    KVM_MP_STATE_INIT_RECEIVED = 2,
    KVM_MP_STATE_HALTED = 3,
    KVM_MP_STATE_SIPI_RECEIVED = 4,
}

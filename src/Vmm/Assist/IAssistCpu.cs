using Vmm.Devices.Memory;
using Vmm.Kvm.Abi;

namespace Vmm.Assist;

/// <summary>What the assist needs of a vCPU that has just left KVM_RUN. All members are for that vCPU's thread.</summary>
internal interface IAssistCpu
{
    /// <summary>The guest's memory.</summary>
    GuestMemory Memory { get; }

    /// <summary>General registers as of the exit (the sync-regs area of kvm_run). Call
    /// <see cref="MarkRegsDirty"/> after a change.</summary>
    ref KvmRegs Regs { get; }

    /// <summary>System registers as of the exit. Call <see cref="MarkSregsDirty"/> after a change.</summary>
    ref KvmSregs Sregs { get; }

    /// <summary><see cref="Regs"/> must reach KVM before the next KVM_RUN.</summary>
    void MarkRegsDirty();

    /// <summary><see cref="Sregs"/> must reach KVM before the next KVM_RUN.</summary>
    void MarkSregsDirty();

    /// <summary>The guest's extended state in the standard format with the offsets of this processor's CPUID leaf
    /// 0xD: KVM_GET_XSAVE2, once per exit, when first asked for.</summary>
    Span<byte> LoadXsave();

    /// <summary>What was changed in the span of <see cref="LoadXsave"/> must reach KVM before the next KVM_RUN
    /// (KVM_SET_XSAVE).</summary>
    void StoreXsave();

    /// <summary>XCR0: KVM_GET_XCRS, once per exit at most.</summary>
    ulong Xcr0 { get; }

    /// <summary>KVM_SET_XCRS.</summary>
    /// <returns>false if KVM refuses the value, which to the guest is #GP.</returns>
    bool TrySetXcr0(ulong value);

    /// <summary>KVM_GET_MSRS of one.</summary>
    /// <returns>false if KVM does not have it.</returns>
    bool TryGetMsr(uint index, out ulong value);

    /// <summary>KVM_SET_MSRS of one.</summary>
    /// <returns>false if KVM does not have it or refuses the value.</returns>
    bool TrySetMsr(uint index, ulong value);

    /// <summary>Lets the next KVM_RUN begin with this exception: KVM_SET_VCPU_EVENTS with exception.injected (not
    /// pending: KVM_SET_REGS clears that). CR2 of a page fault and DR6 of a debug exception are already in place.
    /// </summary>
    void InjectException(byte vector, bool hasErrorCode, uint errorCode);

    /// <summary>Flushes all translations that KVM caches of the guest's page tables, where that is possible.
    /// </summary>
    /// <returns>false if it cannot.</returns>
    bool TryFlushTlb() => false;
}

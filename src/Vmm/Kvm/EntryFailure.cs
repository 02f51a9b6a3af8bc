namespace Vmm.Kvm;

/// <summary>Why a processor would not enter a guest, in words.</summary>
internal static class EntryFailure
{
    /// <param name="reason"><c>hardware_entry_failure_reason</c> of KVM_EXIT_FAIL_ENTRY: on VT-x the exit reason with bit 31
    /// set, or the number of the VM-instruction error (Intel SDM volume 3, "VM-entry failures during or after loading guest
    /// state" and "VM instruction error numbers"); on AMD-V VMEXIT_INVALID, -1 (AMD APM volume 2, 15.5 and appendix C).</param>
    public static string Explain(ulong reason) => reason switch
    {
        0x8000_0021 => "VT-x: the guest's state is invalid",
        0x8000_0022 => "VT-x: a guest's MSR cannot be loaded",
        0x8000_0029 => "VT-x: machine check",
        7 => "VT-x: the VM-execution controls are invalid",
        8 => "VT-x: the host's state is invalid",
        uint.MaxValue or ulong.MaxValue => "AMD-V: the guest's state is invalid",
        _ => "not in the manuals' lists of guest states",
    };
}

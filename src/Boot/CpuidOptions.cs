namespace Vmm.Boot;

/// <summary>Properties of the machine that CPUID shows.</summary>
public sealed record CpuidOptions
{
    /// <summary>Number of vCPUs, from 1; vCPU n has APIC id n. They are the single-threaded cores of one
    /// package.</summary>
    public required int Cpus { get; init; }

    /// <summary>Features to show.</summary>
    public CpuModel Model { get; init; } = CpuModel.Host;

    /// <summary>KVM_CAP_TSC_DEADLINE_TIMER is there and the local APIC is KVM's.</summary>
    public bool TscDeadlineTimer { get; init; } = true;

    /// <summary>The guest's TSC frequency in kHz (KVM_GET_TSC_KHZ), 0 when not known.</summary>
    public uint TscKhz { get; init; }

    /// <summary>Hide the paravirtual features whose use is a hypercall. Needed on hosts of kind 3, where VMCALL
    /// loops for ever inside the kernel; kvmclock, steal time and asynchronous page faults stay.</summary>
    public bool HideHypercalls { get; init; }

    /// <summary>On hosts of kind 3: the features of the host's own processor, which the guest's programs see and
    /// use whatever the table says, and of which KVM shows its kernel those of leaves 1, 7 and 0xD too. Null where
    /// the table decides.</summary>
    public CpuFeatureSet? AlwaysVisible { get; init; }
}

namespace Vmm.Tests.Shared;

/// <summary>On a test that needs /dev/kvm: the VT-x host that Bochs interprets (docs/hosts.md) cannot run it. Every other
/// host does.</summary>
/// <param name="why">The fault of Bochs that it meets, or what is not there.</param>
[AttributeUsage(AttributeTargets.Method)]
internal sealed class NotInBochsAttribute(string why) : Attribute
{
    /// <summary>Bochs 2.7 does not look at pending interrupts again after a VM entry: where the guest has interrupts off and
    /// never exits, neither its host's timer nor a signal is seen, and all stops for good.</summary>
    public const string SpinsWithInterruptsOff = "a guest that spins with interrupts off stops Bochs 2.7 for good";

    /// <summary>It interprets 50 million instructions a second, so the host says nothing for minutes, and is taken for dead.</summary>
    public const string TakesTooLong = "it takes minutes in Bochs";

    /// <summary>Passt and virtiofsd, for instance.</summary>
    public const string StartsPrograms = "it starts programs that are not gathered for that host";

    public string Why { get; } = why;
}

namespace Vmm.Boot.Kaslr;

/// <summary>What came of address-space randomization of the kernel (KASLR).</summary>
public enum KaslrOutcome
{
    /// <summary>Not vmm's to do: the kernel unpacks, or was started, by itself.</summary>
    LeftToKernel,

    /// <summary>Its physical and virtual bases are random.</summary>
    Randomized,

    /// <summary>Turned off, by --no-kaslr or by nokaslr on the command line.</summary>
    TurnedOff,

    /// <summary>The kernel has no relocation table, or cannot be moved at all: it was built without
    /// CONFIG_RANDOMIZE_BASE.</summary>
    NoRelocations,
}

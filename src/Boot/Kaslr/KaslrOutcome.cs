namespace Vmm.Boot.Kaslr;

/// <summary>The result of address-space randomization of the kernel (KASLR).</summary>
public enum KaslrOutcome
{
    /// <summary>Left to the kernel, which unpacks itself or was started without unpacking.</summary>
    LeftToKernel,

    /// <summary>Its physical and virtual bases are random.</summary>
    Randomized,

    /// <summary>Turned off, by --no-kaslr or by nokaslr on the command line.</summary>
    TurnedOff,

    /// <summary>The kernel has no relocation table, or cannot be moved at all: it was built without
    /// CONFIG_RANDOMIZE_BASE.</summary>
    NoRelocations,
}

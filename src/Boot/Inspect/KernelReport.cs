using Vmm.Boot.Unpack;

namespace Vmm.Boot.Inspect;

/// <summary>What a kernel file is, as <c>vmm inspect</c> tells it. Sizes are in bytes; null means that the kind of
/// file has no such thing, or that it could not be found out.</summary>
public sealed record KernelReport
{
    /// <summary>The path that the user gave.</summary>
    public required string File { get; init; }

    public required long FileSize { get; init; }

    public required KernelKind Kind { get; init; }

    /// <summary>Has it a multiboot header?</summary>
    public bool IsMultiboot { get; init; }

    /// <summary>The version as the kernel itself writes it: release, builder, number and date of the build.</summary>
    public string? Version { get; init; }

    /// <summary>Boot protocol of a bzImage: major version in the high byte.</summary>
    public int? BootProtocol { get; init; }

    /// <summary>How a bzImage is compressed.</summary>
    public Compression? Compression { get; init; }

    /// <summary>Why vmm would leave it to the kernel to unpack itself; null if it would not.</summary>
    public string? Obstacle { get; init; }

    /// <summary>Why the kernel in its payload would not boot; null for no reason.</summary>
    public string? Problem { get; init; }

    public IReadOnlyList<KernelEntry> Entries { get; init; } = [];

    /// <summary>May it be loaded at other physical addresses than those it was linked for?</summary>
    public bool? IsRelocatable { get; init; }

    /// <summary>Entries of its relocation table; 0 if it has none, so that vmm cannot randomize its addresses.</summary>
    public int? Relocations { get; init; }

    /// <summary>The real-mode part of a bzImage.</summary>
    public long? SetupSize { get; init; }

    /// <summary>The compressed payload of a bzImage.</summary>
    public long? PayloadSize { get; init; }

    /// <summary>What the payload unpacks to.</summary>
    public long? UnpackedSize { get; init; }

    /// <summary>Memory that a bzImage needs from its first byte on.</summary>
    public ulong? InitSize { get; init; }

    /// <summary>Memory from the first to the last byte of the (unpacked) kernel, with its zeroed part.</summary>
    public ulong? MemorySize { get; init; }

    /// <summary>Where it lies in memory if nothing moves it: a guest-physical address.</summary>
    public ulong? LoadAddress { get; init; }

    /// <summary>Where its configuration was found: "in the kernel", a path beside it, or null.</summary>
    public string? ConfigurationSource { get; init; }

    /// <summary>What vmm could use and the kernel lacks, most important first. Empty without a configuration.</summary>
    public IReadOnlyList<ConfigFinding> Lacks { get; init; } = [];
}

/// <summary>A way to start a kernel.</summary>
/// <param name="Name">What it is called.</param>
/// <param name="Address">Its guest-physical address, if the kernel is not moved.</param>
public readonly record struct KernelEntry(string Name, ulong Address);

/// <summary>An option of the kernel's configuration that is not built in.</summary>
/// <param name="Option">With its CONFIG_ prefix.</param>
/// <param name="IsModule">Built as a module; else not at all.</param>
/// <param name="IsNeeded">Do most guests need it? Else it is an improvement.</param>
/// <param name="Consequence">What does not work, in plain words.</param>
public readonly record struct ConfigFinding(string Option, bool IsModule, bool IsNeeded, string Consequence);

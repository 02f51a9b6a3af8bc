namespace Vmm.Run.Many;

/// <summary>One of many runs.</summary>
/// <param name="Name">What reports call it; no two runs of a call have the same.</param>
/// <param name="Vmm">The words for the vmm that does it, up to <c>--</c>: the program, <c>run</c>, its options.</param>
/// <param name="Command">The words behind <c>--</c>.</param>
internal sealed record RunItem(string Name, IReadOnlyList<string> Vmm, IReadOnlyList<string> Command)
{
    /// <summary>The most that vmm needs on this host besides the guest's memory: its own, virtiofsd's, page tables.</summary>
    private const ulong Overhead = 64UL << 20;

    /// <summary>The machine's memory, in bytes.</summary>
    public ulong Memory { get; init; }

    /// <summary>The machine's vCPUs.</summary>
    public int Cpus { get; init; } = 1;

    /// <summary>Its kernel, for results of a vmm that wrote none.</summary>
    public string Kernel { get; init; } = "";

    /// <summary>The most that it can take of the host's memory, in bytes.</summary>
    public ulong MemoryNeeded => Memory + Overhead;
}

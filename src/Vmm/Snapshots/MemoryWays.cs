using Vmm.Host;

namespace Vmm.Snapshots;

/// <summary>The words for <see cref="MemoryWay"/>.</summary>
internal static class MemoryWays
{
    /// <param name="text">As given with --lazy; null for nothing.</param>
    /// <exception cref="UsageException">There is no such way.</exception>
    public static MemoryWay Parse(string? text) => text switch
    {
        null or "map" => MemoryWay.Map,
        "uffd" => MemoryWay.Serve,
        "read" => MemoryWay.Read,
        _ => throw new UsageException($"--lazy {text}: there are map, uffd and read"),
    };
}

using Vmm.Host;

namespace Vmm.Snapshots;

/// <summary>How a restored machine gets its memory (<c>--lazy</c>).</summary>
internal enum MemoryWay
{
    /// <summary>Mapped privately from the file: a page is read when it is touched.</summary>
    Map,

    /// <summary>A thread brings each chunk when it is touched, checks it, and reads the rest meanwhile.</summary>
    Serve,

    /// <summary>All is read and checked first.</summary>
    Read,
}

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

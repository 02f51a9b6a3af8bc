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

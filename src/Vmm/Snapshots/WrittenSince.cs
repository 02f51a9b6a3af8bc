using Vmm.Machines;

namespace Vmm.Snapshots;

/// <summary>The snapshot that was made last of a machine, or that it was rewound to, and which pages were written to since, as far as
/// that is known.</summary>
internal sealed class WrittenSince(GuestRam ram)
{
    private PageSet? _pages;

    /// <summary>Of the snapshot; empty for none.</summary>
    public string Id { get; private set; } = "";

    /// <summary>Where it was put; empty for none.</summary>
    public string Directory { get; private set; } = "";

    /// <summary>What was written to since a snapshot; null where that is not known.</summary>
    public PageSet? Pages(string id) => id.Length > 0 && id == Id ? _pages : null;

    /// <summary>Takes over what was written to since the last call. While the machine is quiesced and its memory tracked.</summary>
    /// <param name="pages">Is added to.</param>
    public void Collect(PageSet pages)
    {
        try
        {
            ram.CollectWritten(pages);
        }
        catch
        {
            _pages = null;
            throw;
        }

        _pages?.Add(pages);
    }

    /// <summary>A snapshot was made, and pages were collected while the machine stood still for it, if its memory was tracked then.
    /// </summary>
    public void Begin(string id, string directory, bool isTracked) =>
        (Id, Directory, _pages) = (id, directory, isTracked ? new PageSet(ram.Memory.Size) : null);
}

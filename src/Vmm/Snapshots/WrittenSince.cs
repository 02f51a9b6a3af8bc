using Vmm.Machines;

namespace Vmm.Snapshots;

/// <summary>The snapshot that was made last of a machine, or that it was restored from or rewound to, and which pages were written to
/// since, as far as that is known.</summary>
internal sealed class WrittenSince(GuestRam ram)
{
    private PageSet? _pages;

    /// <summary>Of a machine that is about to run.</summary>
    public static WrittenSince Of(Machine machine)
    {
        var since = new WrittenSince(machine.Ram) { Fork = machine.Origin is Snapshot ? null : machine.Origin as IRewindTarget };
        if (machine.Origin is Snapshot from)
        {
            since.Begin(from.Head.Id, Path.GetFullPath(from.Directory), isTracked: false);
            since.Disks = [.. machine.Spec.Disks.Select(DiskRecord.Of)];
            since.HasOtherDisks = from.HasOtherDisks;
        }

        since.IsOrigin = machine.Origin is not null;
        since.IsMapped = machine.Ram.Content is not null;
        return since;
    }

    /// <summary>Of the snapshot; empty for none.</summary>
    public string Id { get; private set; } = "";

    /// <summary>Where it was put; empty for none.</summary>
    public string Directory { get; private set; } = "";

    /// <summary>What the machine was forked from, if no snapshot of it was made since.</summary>
    public IRewindTarget? Fork { get; private set; }

    /// <summary>No snapshot of it was made since it went on from where another one was saved or forked.</summary>
    public bool IsOrigin { get; private set; }

    /// <summary>It is what the memory is mapped from.</summary>
    public bool IsMapped { get; private set; }

    /// <summary>The disks as the machine found them when it was restored; null for those of the snapshot.</summary>
    public IReadOnlyList<DiskRecord>? Disks { get; private set; }

    /// <summary>The machine was restored with other disks than it was saved with.</summary>
    public bool HasOtherDisks { get; private set; }

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
    public void Begin(string id, string directory, bool isTracked)
    {
        (Id, Directory, Fork, IsOrigin, IsMapped, Disks, HasOtherDisks) = (id, directory, null, false, false, null, false);
        BeginAgain(isTracked);
    }

    /// <summary>The machine went back to it; likewise.</summary>
    public void BeginAgain(bool isTracked) => _pages = isTracked ? new PageSet(ram.Memory.Size) : null;
}

using Vmm.Backends.Disks;
using Vmm.Host;
using Vmm.Machines;

namespace Vmm.Snapshots;

/// <summary>Decides which pages of a machine's memory are copied when: all or those that differ from a base; in one pass while it
/// stands still, or first while it runs.</summary>
/// <param name="since">What was written to since the machine's last snapshot.</param>
/// <param name="from">The base of a diff; null for a whole snapshot.</param>
internal sealed class MemoryPasses(Machine machine, MemoryCopy copy, WrittenSince since, Snapshot? from)
{
    private const int MostPasses = 5;

    // Copied in well under a millisecond.
    private const ulong FewPages = 256;

    private bool _hasFirst;

    private GuestRam Ram => machine.Ram;

    /// <summary>Copies while the guest runs, until little is left to be copied while it stands still.</summary>
    /// <param name="still">For short stops: writes of requests in flight would be missed (<see cref="WriteTracker"/>).</param>
    /// <returns>Why the host cannot; null where it can.</returns>
    /// <exception cref="HostException">The machine has ended.</exception>
    /// <exception cref="IOException">The disk is full, for instance.</exception>
    public string? RunLive(Standstill still)
    {
        still.Begin();
        string? obstacle = Ram.TrackWrites();
        PageSet? known = obstacle is null ? CollectKnown() : null;
        still.End();
        if (obstacle is not null)
        {
            return obstacle;
        }

        CopyFirst(known);
        ulong before = ulong.MaxValue;
        for (int pass = 1; pass < MostPasses; pass++)
        {
            still.Begin();
            PageSet written = Collect();
            still.End();
            ulong pages = written.Count;
            copy.Copy(written);
            if (pages <= FewPages || pages > before / 2)
            {
                break;      // the guest writes about as fast as it is copied
            }

            before = pages;
        }

        FlushEarly();
        return null;
    }

    /// <summary>Copies the rest, or all. While the machine is quiesced, for the last time.</summary>
    /// <exception cref="IOException">The disk is full, for instance.</exception>
    public void Finish()
    {
        if (_hasFirst)
        {
            copy.Copy(Collect());
            return;
        }

        if (from is not null)
        {
            _ = Ram.TrackWrites();      // there will be another diff, which then has less to look at
        }

        CopyFirst(Ram.IsTracked ? CollectKnown() : null);
    }

    private void CopyFirst(PageSet? known)
    {
        _hasFirst = true;
        if (from is null)
        {
            copy.CopyAll();
        }
        else if (known is not null)
        {
            copy.Copy(known);
        }
        else
        {
            copy.CopyDifferent(from);
        }
    }

    /// <returns>What was written to since the base; null where that is not known, or not wanted.</returns>
    private PageSet? CollectKnown()
    {
        Collect();
        if (from is null || since.Pages(from.Head.Id) is not { } pages)
        {
            return null;
        }

        var known = new PageSet(Ram.Memory.Size);
        known.Add(pages);
        return known;
    }

    private PageSet Collect()
    {
        var pages = new PageSet(Ram.Memory.Size);
        since.Collect(pages);
        return pages;
    }

    /// <summary>What is in the page cache goes to the disks now, so that flushing them is short when the guest stands still. Errors
    /// show then.</summary>
    private void FlushEarly()
    {
        foreach ((_, OpenDisk disk) in machine.Disks)
        {
            if (disk.Backend.File is HostFile file)
            {
                using FileDescriptor same = file.Duplicate();
                _ = LibC.fdatasync(same.Number);
            }
        }
    }
}

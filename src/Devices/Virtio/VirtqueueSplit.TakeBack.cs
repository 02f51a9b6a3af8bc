namespace Vmm.Devices.Virtio;

/// <summary>Continues with rings that another program has served until now.</summary>
internal sealed unsafe partial class VirtqueueSplit
{
    internal override bool TryTake(ushort head, Span<IoVector> buffers, out DescriptorChain chain)
    {
        chain = default;
        if (!IsRunning || head >= Size || Outstanding == Size)
        {
            return false;
        }

        var collector = new VirtqueueCollector(Memory, buffers, Size);
        if (!Walk(head, ref collector))
        {
            Break(collector.Fault);
            return false;
        }

        Outstanding++;
        chain = collector.Finish(head, 1);
        return true;
    }

    /// <summary>The rings hold the last entries, up to the ring's size: which buffers were made available and which were used.
    /// Counted from any moment in that time at which nothing was in flight, the difference is what is in flight now. Those
    /// moments are not recorded: each possible one is tried, and the result that more than half of them give is taken; if there
    /// is none, the result is unknown.</summary>
    internal override IReadOnlyList<ushort> TakeBack()
    {
        if (!HasRings)
        {
            return [];
        }

        // SAFETY: avail.idx and used.idx, in memory as checked by Locate.
        ushort avail = Volatile.Read(ref *(ushort*)(_avail + 2));
        ushort used = Volatile.Read(ref *(ushort*)(_used + 2));
        _nextAvail = _availIdx = avail;
        _usedIdx = _published = used;
        Outstanding = 0;
        int inFlight = (ushort)(avail - used);
        return inFlight == 0 || inFlight > Size ? [] : InFlight(avail, used, inFlight) ?? [];
    }

    /// <returns>Null where it cannot be told.</returns>
    private HashSet<ushort>? Found(int[] difference, int inFlight)
    {
        var found = new HashSet<ushort>();
        for (int head = 0; head < Size; head++)
        {
            switch (difference[head])
            {
                case 0:
                    break;
                case 1:
                    found.Add((ushort)head);
                    break;
                default:
                    return null;
            }
        }

        return found.Count == inFlight ? found : null;
    }

    private ushort[]? InFlight(ushort avail, ushort used, int inFlight)
    {
        // For each buffer: how often it was made available minus how often it was used, since the moment that is being tried.
        int[] difference = new int[Size];
        var votes = new List<(HashSet<ushort> Answer, int Count)>();
        int moments = 0;
        for (int back = 1; back <= Size; back++)
        {
            // SAFETY: both indexes are masked to the rings, which lie in memory as a whole.
            ushort head = Volatile.Read(ref *(ushort*)(_avail + 4 + ((ushort)(avail - back) & _mask) * 2));
            if (head >= Size)
            {
                break;
            }

            difference[head]++;
            if (back > inFlight)
            {
                uint id = Volatile.Read(ref *(uint*)(_used + 4 + ((ushort)(used - (back - inFlight)) & _mask) * 8));
                if (id >= Size)
                {
                    break;
                }

                difference[id]--;
            }

            if (back >= inFlight && Found(difference, inFlight) is { } found)
            {
                moments++;
                int same = votes.FindIndex(vote => vote.Answer.SetEquals(found));
                if (same >= 0)
                {
                    votes[same] = (found, votes[same].Count + 1);
                }
                else
                {
                    votes.Add((found, 1));
                }
            }
        }

        return votes.FirstOrDefault(vote => vote.Count * 2 > moments).Answer is { } answer ? [.. answer] : null;
    }
}

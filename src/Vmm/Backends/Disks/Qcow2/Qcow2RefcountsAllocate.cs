namespace Vmm.Backends.Disks.Qcow2;

// Finding free clusters. No request waits for a search: those that are known to be free are taken first, the lowest of
// them; if there are none, the file grows, while the refcounts of one region after another are read asynchronously. A request
// itself reads at most a region at the file's end, and slices that are no longer cached.
internal sealed partial class Qcow2Refcounts
{
    /// <summary>Regions behind the file's end that one request looks at: only a damaged image has any clusters counted
    /// there.</summary>
    private const int MostTailRegions = 4;

    private byte[]? _tailCounts;

    /// <summary>A region is being read.</summary>
    public bool IsScanning => _scan.IsUnderWay;

    /// <summary>Takes free clusters in a row.</summary>
    /// <param name="wanted">As many as would be good.</param>
    /// <param name="first">The first cluster's number.</param>
    /// <param name="got">1 to <paramref name="wanted"/>.</param>
    public Qcow2Status TryAllocate(ulong wanted, out ulong first, out ulong got)
    {
        BeginScan();
        first = 0;
        got = 0;
        for (int tries = 0; tries < 2 * MostTailRegions; tries++)
        {
            if (!_regions.TryFind(out ulong region))
            {
                while (_regions.IsKnown(_tail))
                {
                    _tail++;
                }

                if (_tail >> (_blockBits - _regionBits) >= Qcow2Format.MaxRefcountTableBytes / 8)
                {
                    return Qcow2Status.Error;       // beyond the largest refcount table
                }

                Qcow2Status read = ReadTail();
                if (read != Qcow2Status.Ok)
                {
                    return read;
                }

                continue;
            }

            Qcow2Status status = Take(region, wanted, out first, out got);
            if (status != Qcow2Status.Ok || got > 0)
            {
                return got > 0 ? Qcow2Status.Ok : status;
            }
        }

        return Qcow2Status.Error;
    }

    /// <summary>The asynchronous read is finished.</summary>
    public void ScanFinished(int errno)
    {
        _scan.End();
        if (errno != 0)
        {
            _regions.Learn(_scan.Region, 0, 0);     // nothing there will be used
        }
        else if (!_scan.IsStale)
        {
            Learn(_scan.Region, _scan.Counts);
        }
    }

    /// <summary>Reads the next region while no cluster is known to be free except behind the file's end.</summary>
    private void BeginScan()
    {
        if (_scan.IsUnderWay || (_regions.TryFind(out ulong lowest) && lowest < _tail)
            || !_regions.TryFindUnknown(_tail, out ulong region))
        {
            return;
        }

        if (OffsetOf(region) is { } offset)
        {
            _scan.Begin(region, offset);
        }
        else
        {
            Learn(region, []);
        }
    }

    private Qcow2Status ReadTail()
    {
        if (OffsetOf(_tail) is not { } offset)
        {
            Learn(_tail, []);
            return Qcow2Status.Ok;
        }

        _tailCounts ??= new byte[_regionBytes];
        if (!_file.TryRead(offset, _tailCounts))
        {
            return Qcow2Status.Error;
        }

        Learn(_tail, _tailCounts);
        return Qcow2Status.Ok;
    }

    /// <summary>Where the region's refcounts lie; null where no block counts it, and all of it is free.</summary>
    private ulong? OffsetOf(ulong region)
    {
        ulong inBlock = region & ((1UL << (_blockBits - _regionBits)) - 1);
        ulong index = region >> (_blockBits - _regionBits);
        return index < (ulong)_table.Length && _table[index] != 0
            ? _table[index] + (inBlock * (ulong)_regionBytes)
            : null;
    }

    /// <param name="counts">The region as it is in the file; empty where no block counts it.</param>
    private void Learn(ulong region, ReadOnlySpan<byte> counts)
    {
        if (OffsetOf(region) is not { } offset || counts.IsEmpty)
        {
            _regions.Learn(region, 1 << _regionBits, 0);
            return;
        }

        int order = _header.RefcountOrder;
        int perSlice = _sliceBytes * 8 >> order;
        int free = 0;
        int from = 0;
        for (int at = 0; at < counts.Length; at += _sliceBytes)
        {
            // What the cache has is newer than the file.
            ReadOnlySpan<byte> slice = _cache.TryPeek(offset + (ulong)at, out byte[] cached)
                ? cached
                : counts.Slice(at, _sliceBytes);
            int zeros = Qcow2Counts.CountZeros(slice, order);
            if (free == 0 && zeros > 0)
            {
                from = (at / _sliceBytes * perSlice) + Qcow2Counts.IndexOfZero(slice, 0, order);
            }

            free += zeros;
        }

        _regions.Learn(region, free, from);
    }

    /// <summary>Takes free clusters of a region in a row.</summary>
    /// <param name="got">0 if it has none after all.</param>
    private Qcow2Status Take(ulong region, ulong wanted, out ulong first, out ulong got)
    {
        first = 0;
        got = 0;
        ulong end = (region + 1) << _regionBits;
        ulong cluster = _regions.FirstCluster(region);
        ulong table = _tableOffset;
        for (; got < wanted; cluster++)
        {
            Qcow2Status status = got == 0 ? SkipUsed(ref cluster, end) : Qcow2Status.Ok;
            if (status == Qcow2Status.Ok && cluster >= end)
            {
                break;
            }

            bool free = false;
            if (status == Qcow2Status.Ok)
            {
                status = IsFree(cluster, out free);
            }

            if (status == Qcow2Status.Ok && free)
            {
                status = EnsureBlock(cluster, got > 0, out bool tookCluster);
                free = !tookCluster;
            }

            if (status == Qcow2Status.Ok && free)
            {
                status = TrySet(cluster, 1);
            }

            if (status != Qcow2Status.Ok)
            {
                return got > 0 ? Qcow2Status.Ok : status;
            }

            if (free)
            {
                first = got++ == 0 ? cluster : first;
            }
            else if (got > 0)
            {
                break;
            }
        }

        if (_tableOffset == table)
        {
            _regions.Passed(region, Math.Min(cluster, end));
        }

        return Qcow2Status.Ok;      // else the table has moved, and its old place may be free: search again
    }

    /// <summary>Moves on to the next count that is zero, a slice at a time; to the end where none is.</summary>
    private Qcow2Status SkipUsed(ref ulong cluster, ulong end)
    {
        ulong perSlice = (ulong)_sliceBytes * 8 >> _header.RefcountOrder;
        while (cluster < end)
        {
            ulong index = cluster >> _blockBits;
            if (index >= (ulong)_table.Length || _table[index] == 0)
            {
                return Qcow2Status.Ok;      // not counted: zero
            }

            Qcow2Status status = Find(cluster, out byte[] slice, out _, out int bit);
            if (status != Qcow2Status.Ok)
            {
                return status;
            }

            int at = bit >> _header.RefcountOrder;
            int found = Qcow2Counts.IndexOfZero(slice, at, _header.RefcountOrder);
            if (found >= 0)
            {
                cluster += (ulong)(found - at);
                return Qcow2Status.Ok;
            }

            cluster += perSlice - (ulong)at;
        }

        return Qcow2Status.Ok;
    }

    private Qcow2Status IsFree(ulong cluster, out bool free)
    {
        free = false;
        if (_metadata.Contains(cluster))
        {
            return Qcow2Status.Ok;
        }

        Qcow2Status status = TryGet(cluster, out ulong count);
        free = count == 0;
        return status;
    }
}

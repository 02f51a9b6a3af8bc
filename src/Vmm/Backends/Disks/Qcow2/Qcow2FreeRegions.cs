namespace Vmm.Backends.Disks.Qcow2;

/// <summary>How many clusters of each region of the file are free, as far as that is known. A region is what up to 64 KiB
/// of refcounts count: with the usual 64-KiB clusters 2 GiB of the file.</summary>
/// <remarks>Eight bytes a region, so the map of 1 TiB takes 4 KiB. A region is unknown until its refcounts were read
/// once; from then on every change of a count is recorded here, and finding a free cluster reads nothing.</remarks>
internal sealed class Qcow2FreeRegions
{
    private const int Unknown = -1;

    private readonly int _bits;
    private int[] _free = [];
    private int[] _from = [];
    private int _lowest;
    private int _firstUnknown;

    /// <param name="bits">Clusters of a region, as a power of two.</param>
    public Qcow2FreeRegions(int bits) => _bits = bits;

    public bool IsKnown(ulong region) => region < (ulong)_free.Length && _free[region] != Unknown;

    /// <summary>The region's refcounts were read.</summary>
    /// <param name="free">How many are zero.</param>
    /// <param name="from">No cluster of the region before this one is free.</param>
    public void Learn(ulong region, int free, int from)
    {
        if (region >= (ulong)_free.Length)
        {
            int length = _free.Length;
            int longer = (int)Math.Max(region + 1, (ulong)length * 2);
            Array.Resize(ref _free, longer);
            Array.Resize(ref _from, longer);
            _free.AsSpan(length).Fill(Unknown);
        }

        _free[region] = free;
        _from[region] = from;
        _lowest = free > 0 ? Math.Min(_lowest, (int)region) : _lowest;
    }

    /// <summary>A cluster's count is not zero any more.</summary>
    public void Allocated(ulong cluster)
    {
        ulong region = cluster >> _bits;
        if (IsKnown(region) && _free[region] > 0)
        {
            _free[region]--;
        }
    }

    /// <summary>A cluster's count became zero.</summary>
    public void Freed(ulong cluster)
    {
        ulong region = cluster >> _bits;
        if (IsKnown(region))
        {
            _free[region]++;
            _from[region] = Math.Min(_from[region], (int)(cluster & ((1UL << _bits) - 1)));
            _lowest = Math.Min(_lowest, (int)region);
        }
    }

    /// <summary>The lowest region that is known to have a free cluster.</summary>
    public bool TryFind(out ulong region)
    {
        while (_lowest < _free.Length && _free[_lowest] <= 0)
        {
            _lowest++;
        }

        region = (ulong)_lowest;
        return _lowest < _free.Length;
    }

    /// <summary>No cluster of the region before this one is free.</summary>
    public ulong FirstCluster(ulong region) => (region << _bits) + (ulong)_from[region];

    /// <summary>The region has no free cluster before this one; with the region's end, it has none at all.</summary>
    public void Passed(ulong region, ulong cluster)
    {
        _from[region] = (int)(cluster - (region << _bits));
        if (_from[region] == 1 << _bits)
        {
            _free[region] = 0;
        }
    }

    /// <summary>The lowest region before <paramref name="end"/> that is not known.</summary>
    public bool TryFindUnknown(ulong end, out ulong region)
    {
        while ((ulong)_firstUnknown < end && IsKnown((ulong)_firstUnknown))
        {
            _firstUnknown++;
        }

        region = (ulong)_firstUnknown;
        return region < end;
    }
}

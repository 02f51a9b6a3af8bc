using System.Buffers.Binary;
using Vmm.Host;

namespace Vmm.Backends.Disks.Qcow2;

/// <summary>Where each cluster of the disk lies in the file: the L1 table in memory, L2 tables by slices. Changes stay in
/// memory until the flush writes them.</summary>
internal sealed class Qcow2Map
{
    private readonly BlockFile _file;
    private readonly Qcow2Header _header;
    private readonly Qcow2Refcounts? _refcounts;
    private readonly HashSet<ulong> _metadata;
    private readonly Qcow2Cache _cache;
    private readonly int _sliceBytes;
    private ulong[] _l1;
    private int _dirtyFrom = int.MaxValue;
    private int _dirtyTo = -1;

    /// <param name="refcounts">Null for an image that is only read.</param>
    /// <param name="metadata">Clusters, by number, with the image's own tables; grows with them.</param>
    /// <exception cref="UsageException">The L1 table is damaged.</exception>
    public Qcow2Map(BlockFile file, Qcow2Header header, Qcow2Refcounts? refcounts, HashSet<ulong> metadata)
    {
        _file = file;
        _header = header;
        _refcounts = refcounts;
        _metadata = metadata;
        _sliceBytes = (int)Math.Min(header.ClusterSize, 4096);
        _cache = new Qcow2Cache(file, 256, _sliceBytes);
        var bytes = new byte[header.L1Entries * 8];
        if (!file.TryRead(header.L1Offset, bytes))
        {
            throw Qcow2Header.Wrong(file, "its L1 table cannot be read");
        }

        _l1 = new ulong[header.L1Entries];
        for (int i = 0; i < _l1.Length; i++)
        {
            _l1[i] = BinaryPrimitives.ReadUInt64BigEndian(bytes.AsSpan(i * 8));
            ulong offset = _l1[i] & Qcow2Format.OffsetMask;
            if (offset == 0)
            {
                continue;
            }

            if (offset % header.ClusterSize != 0 || offset >= file.Length
                || !metadata.Add(offset >> header.ClusterBits))
            {
                throw Qcow2Header.Wrong(
                    file, $"damaged: L2 table {i} lies at {offset}; repair it: qemu-img check -r all {file.Path}");
            }
        }
    }

    public bool IsDirty => _cache.DirtyCount > 0 || _dirtyTo >= 0;

    public int L1Entries => _l1.Length;

    /// <summary>Clusters from this one to the end of its slice: what can be looked up and changed together.</summary>
    public ulong LeftInSlice(ulong cluster)
    {
        ulong perSlice = (ulong)_sliceBytes / 8;
        return perSlice - (cluster % perSlice);
    }

    /// <summary>The slice with this cluster's entry; null where there is no table, so that all entries are zero.</summary>
    /// <param name="index">The entry in the slice.</param>
    public Qcow2Status TryGet(ulong cluster, out byte[]? slice, out int index) =>
        TryGet(cluster, out slice, out index, out _);

    /// <summary>One entry.</summary>
    public Qcow2Status TryGetEntry(ulong cluster, out ulong entry)
    {
        Qcow2Status status = TryGet(cluster, out byte[]? slice, out int index);
        entry = status == Qcow2Status.Ok && slice is not null ? Qcow2Cache.Read(slice, index) : 0;
        return status;
    }

    /// <summary>Makes sure that there is a table and that it is in memory, so that the changes that follow succeed.</summary>
    public Qcow2Status TryGetForChange(ulong cluster, out byte[] slice, out int index, out ulong offset)
    {
        Qcow2Status status = TryGet(cluster, out byte[]? there, out index, out offset);
        if (status == Qcow2Status.Ok && there is null)
        {
            status = TryAddTable((int)(cluster >> _header.L2Bits));
            if (status == Qcow2Status.Ok)
            {
                status = TryGet(cluster, out there, out index, out offset);
            }
        }

        slice = there ?? [];
        return status;
    }

    /// <summary>The slice at this offset was changed.</summary>
    public void MarkDirty(ulong offset) => _cache.MarkDirty(offset);

    /// <summary>Adds empty entries. The clusters of the L1 table must have space for them.</summary>
    /// <returns>False: they could not be written; nothing has changed.</returns>
    public bool TryGrow(int entries)
    {
        int more = entries - _l1.Length;
        if (more > 0 && !_file.TryWrite(_header.L1Offset + ((ulong)_l1.Length * 8), new byte[more * 8]))
        {
            return false;
        }

        Array.Resize(ref _l1, entries);
        return true;
    }

    /// <summary>Offset of an L2 table, 0 for none.</summary>
    public ulong TableAt(int l1Index) => _l1[l1Index] & Qcow2Format.OffsetMask;

    /// <summary>Writes changed slices and L1 entries. All that they refer to is durable and counted.</summary>
    public bool TryWrite()
    {
        if (!_cache.TryWriteDirty())
        {
            return false;
        }

        if (_dirtyTo < 0)
        {
            return true;
        }

        var bytes = new byte[(_dirtyTo - _dirtyFrom + 1) * 8];
        for (int i = _dirtyFrom; i <= _dirtyTo; i++)
        {
            BinaryPrimitives.WriteUInt64BigEndian(bytes.AsSpan((i - _dirtyFrom) * 8), _l1[i]);
        }

        if (!_file.TryWrite(_header.L1Offset + ((ulong)_dirtyFrom * 8), bytes))
        {
            return false;
        }

        _dirtyFrom = int.MaxValue;
        _dirtyTo = -1;
        return true;
    }

    private Qcow2Status TryGet(ulong cluster, out byte[]? slice, out int index, out ulong offset)
    {
        slice = null;
        ulong inTable = cluster & ((1UL << _header.L2Bits) - 1);
        ulong perSlice = (ulong)_sliceBytes / 8;
        index = (int)(inTable % perSlice);
        offset = _l1[cluster >> _header.L2Bits] & Qcow2Format.OffsetMask;
        if (offset == 0)
        {
            return Qcow2Status.Ok;
        }

        offset += inTable / perSlice * (ulong)_sliceBytes;
        return _cache.TryGet(offset, out slice);
    }

    private Qcow2Status TryAddTable(int l1Index)
    {
        Qcow2Status status = _refcounts!.TryAllocate(1, out ulong cluster, out _);
        if (status != Qcow2Status.Ok)
        {
            return status;
        }

        // The cluster's old content must not be read as entries, whatever else reaches the disk in a crash.
        ulong offset = cluster << _header.ClusterBits;
        if (!_file.TryWrite(offset, new byte[_header.ClusterSize]))
        {
            _ = _refcounts.TrySet(cluster, 0);
            return Qcow2Status.Error;
        }

        _metadata.Add(cluster);
        _l1[l1Index] = offset | Qcow2Format.Copied;
        _dirtyFrom = Math.Min(_dirtyFrom, l1Index);
        _dirtyTo = Math.Max(_dirtyTo, l1Index);
        return Qcow2Status.Ok;
    }
}

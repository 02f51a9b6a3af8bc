using System.Buffers.Binary;
using System.Numerics;
using Vmm.Host;

namespace Vmm.Backends.Disks.Qcow2;

/// <summary>The reference counts of the file's clusters. Changes stay in memory until the flush writes them, before anything
/// that refers to a new cluster.</summary>
internal sealed partial class Qcow2Refcounts
{
    private const ulong MostRegionBytes = 64 * 1024;

    private readonly BlockFile _file;
    private readonly Qcow2Header _header;
    private readonly Qcow2Cache _cache;
    private readonly HashSet<ulong> _metadata;
    private readonly int _sliceBytes;
    private readonly int _blockBits;    // clusters that one block counts, as a power of two
    private readonly int _regionBits;   // and that one region counts
    private readonly int _regionBytes;
    private readonly Qcow2FreeRegions _regions;
    private readonly Qcow2FreeScan _scan;
    private ulong _tableOffset;
    private ulong[] _table;
    private int _dirtyFrom = int.MaxValue;
    private int _dirtyTo = -1;
    private ulong _tail;                // the first region that reaches behind the file
    private bool _broken;

    /// <param name="metadata">Clusters, by number, with the image's own tables; grows with them.</param>
    /// <param name="owner">The owner of asynchronous reads, which calls <see cref="ScanFinished"/>.</param>
    /// <exception cref="UsageException">The table is damaged.</exception>
    public Qcow2Refcounts(
        BlockFile file, Qcow2Header header, HashSet<ulong> metadata, IFileIoOwner owner, int scanTag)
    {
        _file = file;
        _header = header;
        _metadata = metadata;
        _sliceBytes = (int)Math.Min(header.ClusterSize, 4096);
        _cache = new Qcow2Cache(file, 64, _sliceBytes);
        _blockBits = header.ClusterBits + 3 - header.RefcountOrder;
        _regionBytes = (int)Math.Min(header.ClusterSize, MostRegionBytes);
        _regionBits = BitOperations.Log2((uint)_regionBytes * 8) - header.RefcountOrder;
        _regions = new Qcow2FreeRegions(_regionBits);
        _scan = new Qcow2FreeScan(file, owner, scanTag, _regionBytes);
        _tail = ((file.Length + header.ClusterSize - 1) >> header.ClusterBits) >> _regionBits;
        _tableOffset = header.RefcountTableOffset;
        var bytes = new byte[header.RefcountTableClusters * header.ClusterSize];
        if (!file.TryRead(_tableOffset, bytes))
        {
            throw Qcow2Header.Wrong(file, "its refcount table cannot be read");
        }

        _table = new ulong[bytes.Length / 8];
        for (int i = 0; i < _table.Length; i++)
        {
            ulong offset = BinaryPrimitives.ReadUInt64BigEndian(bytes.AsSpan(i * 8));
            if (offset == 0)
            {
                continue;
            }

            if (offset % header.ClusterSize != 0 || offset >= file.Length
                || !metadata.Add(offset >> header.ClusterBits))
            {
                throw Qcow2Header.Wrong(
                    file, $"damaged: refcount block {i} lies at {offset}; repair it: qemu-img check -r all {file.Path}");
            }

            _table[i] = offset;
        }
    }

    public bool IsDirty => _cache.DirtyCount > 0 || IsTableDirty;

    /// <summary>Must the table itself be written, after the blocks are durable?</summary>
    public bool IsTableDirty => _dirtyTo >= 0;

    public bool IsNearlyFull => _cache.IsNearlyFull;

    public Qcow2Status TryGet(ulong cluster, out ulong count)
    {
        count = 0;
        ulong index = cluster >> _blockBits;
        if (index >= (ulong)_table.Length || _table[index] == 0)
        {
            return Qcow2Status.Ok;
        }

        Qcow2Status status = Find(cluster, out byte[] slice, out _, out int bit);
        if (status == Qcow2Status.Ok)
        {
            count = Qcow2Counts.Read(slice, bit, _header.RefcountOrder);
        }

        return status;
    }

    /// <summary>Sets a count whose block exists.</summary>
    public Qcow2Status TrySet(ulong cluster, ulong count)
    {
        ulong index = cluster >> _blockBits;
        if (index >= (ulong)_table.Length || _table[index] == 0)
        {
            return Qcow2Status.Error;
        }

        Qcow2Status status = Find(cluster, out byte[] slice, out ulong offset, out int bit);
        if (status == Qcow2Status.Ok)
        {
            ulong before = Qcow2Counts.Read(slice, bit, _header.RefcountOrder);
            Qcow2Counts.Write(slice, bit, _header.RefcountOrder, count);
            _cache.MarkDirty(offset);
            _scan.Changed(cluster >> _regionBits);
            if (before == 0 && count != 0)
            {
                _regions.Allocated(cluster);
            }
            else if (before != 0 && count == 0)
            {
                _regions.Freed(cluster);
            }
        }

        return status;
    }

    /// <summary>Removes one reference.</summary>
    /// <param name="nowFree">It was the last reference.</param>
    public Qcow2Status TryRelease(ulong cluster, out bool nowFree)
    {
        nowFree = false;
        Qcow2Status status = TryGet(cluster, out ulong count);

        // A count of zero or a table's own cluster: a damaged image. A leak is better than lost data.
        if (status == Qcow2Status.Ok && count > 0 && !_metadata.Contains(cluster))
        {
            status = TrySet(cluster, count - 1);
            nowFree = status == Qcow2Status.Ok && count == 1;
        }

        return status;
    }

    public bool TryWriteBlocks() => _cache.TryWriteDirty();

    /// <summary>Writes changed entries of the table; their blocks are durable.</summary>
    public bool TryWriteTable()
    {
        if (!IsTableDirty)
        {
            return true;
        }

        var bytes = new byte[(_dirtyTo - _dirtyFrom + 1) * 8];
        for (int i = _dirtyFrom; i <= _dirtyTo; i++)
        {
            BinaryPrimitives.WriteUInt64BigEndian(bytes.AsSpan((i - _dirtyFrom) * 8), _table[i]);
        }

        if (!_file.TryWrite(_tableOffset + ((ulong)_dirtyFrom * 8), bytes))
        {
            return false;
        }

        _dirtyFrom = int.MaxValue;
        _dirtyTo = -1;
        return true;
    }

    /// <summary>A cluster that no block counts yet becomes the block that counts it.</summary>
    private Qcow2Status EnsureBlock(ulong cluster, bool inRow, out bool tookCluster)
    {
        tookCluster = false;
        ulong index = cluster >> _blockBits;
        if (index < (ulong)_table.Length && _table[index] != 0)
        {
            return Qcow2Status.Ok;
        }

        if (inRow)
        {
            tookCluster = true;     // the row ends here; the next allocation makes the block
            return Qcow2Status.Ok;
        }

        if (index >= (ulong)_table.Length)
        {
            Qcow2Status grown = _broken ? Qcow2Status.Error : Grow(cluster);
            _broken |= grown != Qcow2Status.Ok;     // incomplete: no more clusters are allocated beyond the table
            tookCluster = true;     // the new table may lie there; look again
            return grown;
        }

        ulong offset = cluster << _header.ClusterBits;
        if (!TryClear(offset, 1))
        {
            return Qcow2Status.Error;
        }

        _table[index] = offset;
        _metadata.Add(cluster);
        Qcow2Status status = TrySet(cluster, 1);
        if (status != Qcow2Status.Ok)
        {
            _table[index] = 0;
            _metadata.Remove(cluster);
            return status;
        }

        MarkTable((int)index);
        tookCluster = true;
        return Qcow2Status.Ok;
    }

    private void MarkTable(int index)
    {
        _dirtyFrom = Math.Min(_dirtyFrom, index);
        _dirtyTo = Math.Max(_dirtyTo, index);
    }

    /// <summary>Moves the table to a larger place at the end of the file, together with the blocks that count that place. It is
    /// rare (an image with 64-KiB clusters grows past 16 TiB), so it is done synchronously.</summary>
    private Qcow2Status Grow(ulong cluster)
    {
        ulong perBlock = 1UL << _blockBits;
        ulong start = Math.Max(cluster, (_file.Length + _header.ClusterSize - 1) >> _header.ClusterBits);
        start = (start + perBlock - 1) / perBlock * perBlock;           // counted by blocks that do not exist yet

        // The blocks that count the new table, then the table itself, in one row.
        ulong blocks = 1;
        ulong tableClusters;
        while (true)
        {
            ulong entries = (start >> _blockBits) + blocks;
            tableClusters = ((entries * 8 * 3 / 2) + _header.ClusterSize - 1) >> _header.ClusterBits;
            if ((blocks + tableClusters) <= blocks * perBlock)
            {
                break;
            }

            blocks++;
        }

        if (tableClusters * _header.ClusterSize > Qcow2Format.MaxRefcountTableBytes)
        {
            return Qcow2Status.Error;
        }

        if (!TryWriteBlocks() || !TryClear(start << _header.ClusterBits, blocks + tableClusters))
        {
            return Qcow2Status.Error;
        }

        ulong[] oldTable = _table;
        ulong oldOffset = _tableOffset;
        ulong oldClusters = (ulong)oldTable.Length * 8 >> _header.ClusterBits;
        _table = new ulong[tableClusters * _header.ClusterSize / 8];
        oldTable.CopyTo(_table, 0);
        for (ulong i = 0; i < blocks; i++)
        {
            _table[(start >> _blockBits) + i] = (start + i) << _header.ClusterBits;
        }

        for (ulong i = 0; i < blocks + tableClusters; i++)
        {
            if (TrySet(start + i, 1) != Qcow2Status.Ok)
            {
                _table = oldTable;
                return Qcow2Status.Error;
            }
        }

        _tableOffset = (start + blocks) << _header.ClusterBits;
        (int from, int to) = (_dirtyFrom, _dirtyTo);
        (_dirtyFrom, _dirtyTo) = (0, _table.Length - 1);
        Span<byte> field = stackalloc byte[12];
        BinaryPrimitives.WriteUInt64BigEndian(field, _tableOffset);
        BinaryPrimitives.WriteUInt32BigEndian(field[8..], (uint)tableClusters);

        // Everything that the new table names is durable before the header names the table; one sector, so all or nothing.
        if (!TryWriteBlocks() || !TryWriteTable() || !_file.TryFlush()
            || !_file.TryWrite(Qcow2Format.RefcountTableField, field) || !_file.TryFlush())
        {
            // It is unknown which of the two the header names; neither is wrong, as both have the same content so far.
            _table = oldTable;
            _tableOffset = oldOffset;
            (_dirtyFrom, _dirtyTo) = (from, to);
            return Qcow2Status.Error;
        }

        for (ulong i = 0; i < blocks + tableClusters; i++)
        {
            _metadata.Add(start + i);
        }

        for (ulong i = 0; i < oldClusters; i++)
        {
            ulong old = (oldOffset >> _header.ClusterBits) + i;
            _metadata.Remove(old);
            _ = TryRelease(old, out _);     // at worst a leak
        }

        return Qcow2Status.Ok;
    }

    private bool TryClear(ulong offset, ulong clusters)
    {
        var zeros = new byte[_header.ClusterSize];
        for (ulong i = 0; i < clusters; i++)
        {
            if (!_file.TryWrite(offset + (i << _header.ClusterBits), zeros))
            {
                return false;
            }
        }

        return true;
    }

    private Qcow2Status Find(ulong cluster, out byte[] slice, out ulong offset, out int bit)
    {
        ulong inBlock = cluster & ((1UL << _blockBits) - 1);
        ulong bits = inBlock << _header.RefcountOrder;
        ulong sliceBits = (ulong)_sliceBytes * 8;
        offset = _table[cluster >> _blockBits] + (bits / sliceBits * (ulong)_sliceBytes);
        bit = (int)(bits % sliceBits);
        return _cache.TryGet(offset, out slice);
    }
}

using System.Buffers.Binary;
using Vmm.Host;

namespace Vmm.Backends.Disks.Qcow2;

/// <summary>How an access to an image's own tables ended.</summary>
internal enum Qcow2Status
{
    Ok,

    /// <summary>The host failed, or the image is damaged: the request fails.</summary>
    Error,

    /// <summary>The caches are full of changes: flush, then try again.</summary>
    Full,
}

/// <summary>Keeps a fixed number of slices of tables (L2 tables, refcount blocks) in memory. Changes stay here until <see
/// cref="TryWriteDirty"/>: the flush decides the order of writes.</summary>
internal sealed class Qcow2Cache
{
    private readonly BlockFile _file;
    private readonly int _sliceBytes;
    private readonly byte[]?[] _slices;
    private readonly ulong[] _offsets;
    private readonly bool[] _dirty;
    private readonly bool[] _used;
    private readonly Dictionary<ulong, int> _index;
    private int _hand;
    private int _filled;

    /// <param name="slices">How many slices are kept at most.</param>
    public Qcow2Cache(BlockFile file, int slices, int sliceBytes)
    {
        _file = file;
        _sliceBytes = sliceBytes;
        _slices = new byte[]?[slices];
        _offsets = new ulong[slices];
        _dirty = new bool[slices];
        _used = new bool[slices];
        _index = new Dictionary<ulong, int>(slices);
    }

    public int DirtyCount { get; private set; }

    /// <summary>Is it so full of changes that a flush should be started?</summary>
    public bool IsNearlyFull => DirtyCount > _slices.Length - 8;

    /// <summary>Finds or reads the slice at this file offset, a multiple of its size.</summary>
    public Qcow2Status TryGet(ulong offset, out byte[] slice)
    {
        if (_index.TryGetValue(offset, out int slot))
        {
            _used[slot] = true;
            slice = _slices[slot]!;
            return Qcow2Status.Ok;
        }

        slot = FindSlot();
        if (slot < 0)
        {
            slice = [];
            return Qcow2Status.Full;
        }

        slice = _slices[slot] ??= new byte[_sliceBytes];
        if (!_file.TryRead(offset, slice))
        {
            return Qcow2Status.Error;
        }

        _offsets[slot] = offset;
        _index.Add(offset, slot);
        _used[slot] = true;
        return Qcow2Status.Ok;
    }

    /// <summary>Finds the slice at this file offset if it is here; reads nothing.</summary>
    public bool TryPeek(ulong offset, out byte[] slice)
    {
        bool found = _index.TryGetValue(offset, out int slot);
        slice = found ? _slices[slot]! : [];
        return found;
    }

    /// <summary>The slice at this offset, which <see cref="TryGet"/> just gave, was changed.</summary>
    public void MarkDirty(ulong offset)
    {
        int slot = _index[offset];
        if (!_dirty[slot])
        {
            _dirty[slot] = true;
            DirtyCount++;
        }
    }

    /// <summary>Writes all changes, without making them durable.</summary>
    public bool TryWriteDirty()
    {
        for (int slot = 0; slot < _filled && DirtyCount > 0; slot++)
        {
            if (!_dirty[slot])
            {
                continue;
            }

            if (!_file.TryWrite(_offsets[slot], _slices[slot]))
            {
                return false;
            }

            _dirty[slot] = false;
            DirtyCount--;
        }

        return true;
    }

    public static ulong Read(byte[] slice, int index) =>
        BinaryPrimitives.ReadUInt64BigEndian(slice.AsSpan(index * 8, 8));

    public static void Write(byte[] slice, int index, ulong value) =>
        BinaryPrimitives.WriteUInt64BigEndian(slice.AsSpan(index * 8, 8), value);

    /// <summary>A slot to reuse, chosen by the clock algorithm among those without changes; -1 if all have changes.</summary>
    private int FindSlot()
    {
        if (_filled < _slices.Length)
        {
            return _filled++ is var fresh && !_dirty[fresh] ? Forget(fresh) : -1;
        }

        for (int turns = 2 * _slices.Length; turns > 0; turns--)
        {
            int slot = _hand;
            _hand = (_hand + 1) % _slices.Length;
            if (_dirty[slot])
            {
                continue;
            }

            if (!_used[slot])
            {
                return Forget(slot);
            }

            _used[slot] = false;
        }

        return -1;
    }

    private int Forget(int slot)
    {
        if (_slices[slot] is not null && _index.TryGetValue(_offsets[slot], out int there) && there == slot)
        {
            _index.Remove(_offsets[slot]);
        }

        return slot;
    }
}

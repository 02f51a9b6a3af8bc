using System.Buffers.Binary;
using System.Runtime.InteropServices;
using Vmm.Devices.Virtio;
using Vmm.Devices.Virtio.Net;
using Vmm.Host;

namespace Vmm.Backends.Networks;

/// <summary>Delayed frames, first in, first out, in a buffer of fixed size.</summary>
/// <remarks>Each is contiguous, after its due time and length: <c>due:64 length:32 bytes</c>. A frame that does not fit before
/// the end of the buffer is put at its start.</remarks>
internal sealed class FrameRing(int capacity)
{
    private const int RecordBytes = sizeof(long) + sizeof(int);

    private readonly byte[] _bytes = GC.AllocateUninitializedArray<byte>(capacity, pinned: true);
    private int _first;
    private int _end;
    private int _wrap;      // where the frames before the start end, while _end is behind _first
    private int _count;

    public bool IsEmpty => _count == 0;

    /// <summary>When the first frame is due.</summary>
    public long Due => BinaryPrimitives.ReadInt64LittleEndian(_bytes.AsSpan(_first));

    /// <summary>The first frame, as one vector for its header and one for the rest.</summary>
    public void Peek(Span<IoVector> frame)
    {
        nint start = Marshal.UnsafeAddrOfPinnedArrayElement(_bytes, _first + RecordBytes);
        frame[0] = new IoVector(start, VirtioNet.HeaderBytes);
        frame[1] = new IoVector(start + VirtioNet.HeaderBytes, (nuint)(Length - VirtioNet.HeaderBytes));
    }

    public ReadOnlySpan<byte> First => _bytes.AsSpan(_first + RecordBytes, Length);

    private int Length => BinaryPrimitives.ReadInt32LittleEndian(_bytes.AsSpan(_first + sizeof(long)));

    /// <summary>Adds a frame with its header. False when the buffer is full.</summary>
    public bool TryAdd(long due, ReadOnlySpan<IoVector> frame)
    {
        int length = 0;
        foreach (IoVector part in frame)
        {
            length += (int)part.Length;
        }

        if (!TryPlace(RecordBytes + length, out int at))
        {
            return false;
        }

        BinaryPrimitives.WriteInt64LittleEndian(_bytes.AsSpan(at), due);
        BinaryPrimitives.WriteInt32LittleEndian(_bytes.AsSpan(at + sizeof(long)), length);
        IoVectors.CopyFrom(frame, 0, _bytes.AsSpan(at + RecordBytes, length));
        _count++;
        return true;
    }

    public void RemoveFirst()
    {
        _first += RecordBytes + Length;
        _count--;
        if (_count == 0)
        {
            _first = _end = 0;
        }
        else if (_end <= _first && _first == _wrap)
        {
            _first = 0;
        }
    }

    private bool TryPlace(int bytes, out int at)
    {
        bool isWrapped = _count != 0 && _end <= _first;
        at = _end;
        if (isWrapped ? bytes > _first - _end : bytes > _bytes.Length - _end)
        {
            if (isWrapped || bytes > _first)
            {
                return false;
            }

            _wrap = _end;
            at = 0;
        }

        _end = at + bytes;
        return true;
    }
}

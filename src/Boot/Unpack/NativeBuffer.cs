using System.Buffers;
using System.Runtime.InteropServices;

namespace Vmm.Boot.Unpack;

/// <summary>Bytes outside the GC heap, given back at once when disposed. Their content is undefined at first, and
/// pages of a large buffer become resident only when they are written.</summary>
internal sealed unsafe class NativeBuffer : MemoryManager<byte>
{
    private readonly int _length;
    private readonly bool _isOwner;
    private byte* _bytes;

    /// <exception cref="OutOfMemoryException">The host does not have that much.</exception>
    public NativeBuffer(int length)
    {
        // SAFETY: freed once, in Dispose.
        _bytes = (byte*)NativeMemory.Alloc((nuint)length);
        _length = length;
        _isOwner = true;
    }

    /// <summary>Wraps memory that the caller owns; it must outlive this.</summary>
    public NativeBuffer(byte* bytes, int length)
    {
        _bytes = bytes;
        _length = length;
    }

    public int Length => _length;

    public override Span<byte> GetSpan()
    {
        ObjectDisposedException.ThrowIf(_bytes is null && _length != 0, this);

        // SAFETY: _length bytes are there until Dispose.
        return new Span<byte>(_bytes, _length);
    }

    public override MemoryHandle Pin(int elementIndex = 0)
    {
        ArgumentOutOfRangeException.ThrowIfGreaterThan((uint)elementIndex, (uint)_length, nameof(elementIndex));

        // SAFETY: native memory does not move.
        return new MemoryHandle(_bytes + elementIndex);
    }

    public override void Unpin()
    {
    }

    protected override void Dispose(bool disposing)
    {
        if (_isOwner)
        {
            // SAFETY: allocated by NativeMemory.Alloc; null is fine.
            NativeMemory.Free(_bytes);
        }

        _bytes = null;
    }
}

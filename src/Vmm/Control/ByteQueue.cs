namespace Vmm.Control;

/// <summary>A queue of pending bytes. Its buffer grows as needed, which its owner limits, and is freed when it is empty.</summary>
internal sealed class ByteQueue
{
    private const int Least = 1024, Keeps = 16 << 10;

    private byte[] _bytes = [];
    private int _first;

    public int Count { get; private set; }

    public void Add(ReadOnlySpan<byte> bytes)
    {
        if (_first + Count + bytes.Length > _bytes.Length)
        {
            byte[] room = Count + bytes.Length > _bytes.Length ? new byte[Math.Max(Least, 2 * (Count + bytes.Length))] : _bytes;
            _bytes.AsSpan(_first, Count).CopyTo(room);
            (_bytes, _first) = (room, 0);
        }

        bytes.CopyTo(_bytes.AsSpan(_first + Count));
        Count += bytes.Length;
    }

    /// <summary>The first of them, at most so many.</summary>
    public ReadOnlySpan<byte> Peek(int most) => _bytes.AsSpan(_first, Math.Min(most, Count));

    public void Remove(int count)
    {
        _first += count;
        Count -= count;
        if (Count == 0)
        {
            _first = 0;
            _bytes = _bytes.Length > Keeps ? [] : _bytes;
        }
    }
}

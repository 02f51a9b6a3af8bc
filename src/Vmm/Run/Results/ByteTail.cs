namespace Vmm.Run.Results;

/// <summary>The last bytes of a stream.</summary>
internal sealed class ByteTail(int capacity)
{
    private byte[] _bytes = [];
    private long _total;

    public void Add(ReadOnlySpan<byte> bytes)
    {
        if (_bytes.Length == 0)
        {
            _bytes = new byte[capacity];
        }

        _total += Math.Max(0, bytes.Length - capacity);
        foreach (byte each in bytes[Math.Max(0, bytes.Length - capacity)..])
        {
            _bytes[_total++ % capacity] = each;
        }
    }

    public byte[] ToArray()
    {
        int count = (int)Math.Min(_total, capacity);
        byte[] result = new byte[count];
        for (int i = 0; i < count; i++)
        {
            result[i] = _bytes[(_total - count + i) % capacity];
        }

        return result;
    }
}

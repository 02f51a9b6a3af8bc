using System.Text;

namespace Vmm.Run;

/// <summary>The last console output of the guest's kernel, for error reports: a ring of fixed size. Never makes the guest
/// wait.</summary>
internal sealed class ConsoleTail
{
    private const int Capacity = 64 << 10;

    private readonly Lock _lock = new();
    private readonly byte[] _ring = new byte[Capacity];
    private long _total;

    /// <summary>Bytes received so far.</summary>
    public long Total => Interlocked.Read(ref _total);

    public void Write(ReadOnlySpan<byte> bytes)
    {
        lock (_lock)
        {
            foreach (byte value in bytes)
            {
                _ring[_total++ % Capacity] = value;
            }
        }
    }

    /// <summary>The lines that the ring still has, in order; control characters are replaced.</summary>
    /// <param name="from">Only lines after so many bytes.</param>
    /// <param name="to">Only lines before so many bytes.</param>
    public IReadOnlyList<string> Lines(long from = 0, long to = long.MaxValue)
    {
        byte[] bytes;
        lock (_lock)
        {
            long start = Math.Max(from, _total - Capacity);
            bytes = new byte[Math.Max(0, Math.Min(_total, to) - start)];
            for (int i = 0; i < bytes.Length; i++)
            {
                bytes[i] = _ring[(start + i) % Capacity];
            }
        }

        var lines = new List<string>();
        foreach (string line in Encoding.UTF8.GetString(bytes).Split('\n'))
        {
            var text = new StringBuilder(line.Length);
            foreach (char each in line)
            {
                if (!char.IsControl(each) || each == '\t')
                {
                    text.Append(each);
                }
            }

            if (text.Length > 0)
            {
                lines.Add(text.ToString());
            }
        }

        return lines;
    }
}

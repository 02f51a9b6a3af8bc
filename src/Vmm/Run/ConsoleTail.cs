using System.Text;

namespace Vmm.Run;

/// <summary>What the guest's kernel said last, for when something goes wrong: a ring of fixed size. Never makes the guest
/// wait.</summary>
internal sealed class ConsoleTail
{
    private const int Capacity = 64 << 10;

    private readonly Lock _lock = new();
    private readonly byte[] _ring = new byte[Capacity];
    private long _total;

    /// <summary>Bytes that came so far.</summary>
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

    /// <summary>Lines that the ring still has, the last of them at the end; control characters made harmless.</summary>
    /// <param name="from">Only what came behind so many bytes.</param>
    /// <param name="to">And not behind so many.</param>
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

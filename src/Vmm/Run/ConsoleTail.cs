using System.Text;
using Vmm.Devices.Legacy;

namespace Vmm.Run;

/// <summary>What the guest's kernel said last, for when something goes wrong: a ring of fixed size. Never makes the guest
/// wait.</summary>
/// <param name="also">Gets it all as well; null for nobody. The guest waits for this one.</param>
internal sealed class ConsoleTail(ISerialOutput? also) : ISerialOutput
{
    private const int Capacity = 64 << 10;

    private readonly Lock _lock = new();
    private readonly byte[] _ring = new byte[Capacity];
    private long _total;

    /// <summary>Bytes that came so far.</summary>
    public long Total => Interlocked.Read(ref _total);

    public int Write(ReadOnlySpan<byte> bytes)
    {
        int taken = also?.Write(bytes) ?? bytes.Length;
        lock (_lock)
        {
            foreach (byte value in bytes[..taken])
            {
                _ring[_total++ % Capacity] = value;
            }
        }

        return taken;
    }

    /// <summary>Lines that the ring still has, the last of them at the end; control characters made harmless.</summary>
    /// <param name="from">Only what came behind so many bytes.</param>
    public IReadOnlyList<string> Lines(long from = 0)
    {
        byte[] bytes;
        lock (_lock)
        {
            long start = Math.Max(from, _total - Capacity);
            bytes = new byte[Math.Max(0, _total - start)];
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

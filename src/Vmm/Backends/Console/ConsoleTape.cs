using Vmm.Devices.Legacy;
using Vmm.Host;

namespace Vmm.Backends.Console;

/// <summary>The last 64 KiB of a console's output, for any number of readers, each at its own position. The guest never waits for
/// a reader.</summary>
internal sealed class ConsoleTape(EventLoop loop) : IConsoleTap
{
    private const int Capacity = 64 << 10;

    private readonly Lock _lock = new();
    private byte[] _ring = [];      // allocated with the first output
    private readonly List<Action> _readers = [];
    private long _total;
    private volatile int _readerCount;
    private int _isTold;

    /// <summary>Bytes of output so far.</summary>
    public long Total
    {
        get
        {
            lock (_lock)
            {
                return _total;
            }
        }
    }

    /// <summary>Position of the oldest byte that is kept.</summary>
    public long Oldest => Math.Max(0, Total - Capacity);

    /// <summary>Calls a reader whenever there is more output. On the loop's thread.</summary>
    public void Add(Action reader)
    {
        _readers.Add(reader);
        _readerCount = _readers.Count;
    }

    /// <summary>Ends <see cref="Add"/>.</summary>
    public void Remove(Action reader)
    {
        _readers.Remove(reader);
        _readerCount = _readers.Count;
    }

    public void Sent(ReadOnlySpan<byte> bytes)
    {
        lock (_lock)
        {
            if (_ring.Length == 0)
            {
                _ring = new byte[Capacity];
            }

            ReadOnlySpan<byte> kept = bytes.Length > Capacity ? bytes[^Capacity..] : bytes;
            int at = (int)((_total + bytes.Length - kept.Length) % Capacity);
            int part = Math.Min(kept.Length, Capacity - at);
            kept[..part].CopyTo(_ring.AsSpan(at));
            kept[part..].CopyTo(_ring);
            _total += bytes.Length;
        }

        if (_readerCount > 0 && Interlocked.Exchange(ref _isTold, 1) == 0)
        {
            loop.Post(Tell);
        }
    }

    /// <summary>Copies output from a position on.</summary>
    /// <param name="position">Advanced by the bytes copied and lost.</param>
    /// <param name="lost">Bytes from the position on that were overwritten.</param>
    /// <returns>Bytes copied; 0 where there is nothing.</returns>
    public int Read(ref long position, Span<byte> into, out long lost)
    {
        lock (_lock)
        {
            long first = Math.Max(position, _total - Capacity);
            lost = first - position;
            int count = (int)Math.Min(into.Length, _total - first);
            int at = (int)(first % Capacity);
            int part = Math.Min(count, Capacity - at);
            _ring.AsSpan(at, part).CopyTo(into);
            _ring.AsSpan(0, count - part).CopyTo(into[part..]);
            position = first + count;
            return count;
        }
    }

    private void Tell()
    {
        Interlocked.Exchange(ref _isTold, 0);
        foreach (Action reader in _readers.ToArray())
        {
            reader();
        }
    }
}

using Vmm.Insight.Profile;

namespace Vmm.Insight.Trace;

/// <summary>The events of one thread that are to be written to the file: a ring of fixed size with one writer, the thread, and
/// one reader. When it is full, events are dropped and counted: no vCPU ever waits for a disk.</summary>
internal sealed class TraceTrack
{
    /// <summary>Events; a power of two.</summary>
    public const int Capacity = 1 << 14;

    private readonly TraceEvent[] _ring = new TraceEvent[Capacity];
    private readonly Action _halfFull;
    private long _written;
    private long _read;
    private long _dropped;

    /// <param name="id">The thread's number in the file, from 1.</param>
    /// <param name="name">Its name in the file.</param>
    /// <param name="halfFull">Wakes the reader.</param>
    public TraceTrack(int id, string name, Action halfFull)
    {
        Id = id;
        Name = name;
        _halfFull = halfFull;
    }

    public int Id { get; }

    public string Name { get; }

    public long Dropped => Volatile.Read(ref _dropped);

    /// <summary>Called only by the track's own thread.</summary>
    public void Add(long start, long inKvm, long inVmm, ExitRow? row, string? name = null)
    {
        long used = _written - Volatile.Read(ref _read);
        if (used >= Capacity)
        {
            Volatile.Write(ref _dropped, _dropped + 1);
            return;
        }

        _ring[_written & (Capacity - 1)] = new TraceEvent(start, inKvm, inVmm, row, name);

        // The event is complete before the reader can see that it is there.
        Volatile.Write(ref _written, _written + 1);
        if (used == Capacity / 2)
        {
            _halfFull();
        }
    }

    /// <summary>The oldest event, by the reader.</summary>
    public bool TryTake(out TraceEvent taken)
    {
        if (_read == Volatile.Read(ref _written))
        {
            taken = default;
            return false;
        }

        taken = _ring[_read & (Capacity - 1)];
        Volatile.Write(ref _read, _read + 1);
        return true;
    }
}

/// <summary>Something that took time on a track. Times are Stopwatch timestamps and nanoseconds.</summary>
/// <param name="Start">When KVM_RUN was entered, or the handler called.</param>
/// <param name="InKvm">How long KVM_RUN took; 0 where the event is not an exit.</param>
/// <param name="InVmm">How long vmm took for it afterwards.</param>
/// <param name="Row">The exit's row; null where the event is not an exit.</param>
/// <param name="Name">The event's name, where it is not an exit.</param>
internal readonly record struct TraceEvent(long Start, long InKvm, long InVmm, ExitRow? Row, string? Name);

namespace Vmm.Host;

/// <summary>The system's clock, with timers on the event loop, for devices.</summary>
/// <remarks>The timers of <see cref="TimeProvider.System"/> run on the thread pool. They would still fire when the machine has
/// ended, and an exception in one would end the process.</remarks>
internal sealed class LoopTime(EventLoop loop) : TimeProvider, IDisposable
{
    private readonly Lock _lock = new();
    private readonly List<LoopTimer> _timers = [];

    /// <summary>A timer whose callback runs on the loop's thread. It fires once; there are no periodic ones.</summary>
    public override ITimer CreateTimer(TimerCallback callback, object? state, TimeSpan dueTime, TimeSpan period)
    {
        var timer = new Timer(new LoopTimer(loop, () => callback(state)));
        lock (_lock)
        {
            _timers.Add(timer.Inner);
        }

        timer.Change(dueTime, period);
        return timer;
    }

    /// <summary>Ends all timers.</summary>
    public void Dispose()
    {
        foreach (LoopTimer timer in _timers)
        {
            timer.Dispose();
        }

        _timers.Clear();
    }

    private sealed class Timer(LoopTimer inner) : ITimer
    {
        public LoopTimer Inner { get; } = inner;

        public bool Change(TimeSpan dueTime, TimeSpan period)
        {
            if (period != Timeout.InfiniteTimeSpan)
            {
                throw new NotSupportedException("timers on the event loop are not periodic");
            }

            if (dueTime == Timeout.InfiniteTimeSpan)
            {
                Inner.Stop();
            }
            else
            {
                Inner.Set(dueTime);
            }

            return true;
        }

        public void Dispose() => Inner.Stop();

        public ValueTask DisposeAsync()
        {
            Dispose();
            return default;
        }
    }
}

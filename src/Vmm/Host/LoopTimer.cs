namespace Vmm.Host;

/// <summary>A timer that calls back once.</summary>
internal interface ILoopTimer : IDisposable
{
    /// <summary>Replaces what was set before.</summary>
    void Set(TimeSpan delay);
}

/// <summary>A timer on the event loop.</summary>
internal sealed class LoopTimer : ILoopTimer
{
    private readonly EventLoop _loop;
    private readonly TimerFd _timer = new();
    private readonly EventLoop.Watch _watch;

    public LoopTimer(EventLoop loop, Action elapsed)
    {
        _loop = loop;
        _watch = loop.Add(_timer.Number, LibC.EPOLLIN, _ =>
        {
            if (_timer.Drain())
            {
                elapsed();
            }
        }, "timer");
    }

    /// <summary>Fires at once where the delay is zero or less.</summary>
    public void Set(TimeSpan delay) => _timer.StartOnce(delay > TimeSpan.Zero ? delay : TimeSpan.FromTicks(1));

    /// <summary>Cancels the timer.</summary>
    public void Stop() => _timer.StartOnce(TimeSpan.Zero);

    public void Dispose()
    {
        _loop.Remove(_watch);
        _timer.Dispose();
    }
}

namespace Vmm.Host;

/// <summary>Calls back once, later, on a certain thread.</summary>
internal interface ILoopTimer : IDisposable
{
    /// <summary>Replaces what was set before.</summary>
    void Set(TimeSpan delay);
}

/// <summary>A timerfd on the event loop.</summary>
internal sealed unsafe class LoopTimer : ILoopTimer
{
    private readonly EventLoop _loop;
    private readonly FileDescriptor _fd;
    private readonly EventLoop.Watch _watch;

    public LoopTimer(EventLoop loop, Action elapsed)
    {
        _loop = loop;
        _fd = new FileDescriptor(ErrnoException.Check(
            LibC.TimerfdCreate(LibC.CLOCK_MONOTONIC, LibC.TFD_CLOEXEC | LibC.TFD_NONBLOCK), "timerfd_create"));
        _watch = loop.Add(_fd.Number, LibC.EPOLLIN, _ =>
        {
            ulong count;

            // SAFETY: eight bytes of our own stack.
            if (LibC.Read(_fd.Number, &count, sizeof(ulong)) == sizeof(ulong))
            {
                elapsed();
            }
        }, "timer");
    }

    public void Set(TimeSpan delay)
    {
        // Zero would disarm it.
        long nanoseconds = Math.Max(1, delay.Ticks * 100);
        var value = new LibC.Itimerspec
        {
            ValueSeconds = nanoseconds / 1_000_000_000,
            ValueNanoseconds = nanoseconds % 1_000_000_000,
        };
        ErrnoException.Check(LibC.TimerfdSettime(_fd.Number, 0, &value, null), "timerfd_settime");
    }

    public void Dispose()
    {
        _loop.Remove(_watch);
        _fd.Dispose();
    }
}

using Tmds.Linux;

namespace Vmm.Host;

/// <summary>timerfd(2) on the monotonic clock.</summary>
internal sealed unsafe class TimerFd : IDisposable
{
    private const long NanosecondsPerSecond = 1_000_000_000;

    private readonly FileDescriptor _fd;

    public TimerFd()
    {
        _fd = new FileDescriptor(ErrnoException.Check(
            LibC.timerfd_create(LibC.CLOCK_MONOTONIC, LibC.TFD_CLOEXEC | LibC.TFD_NONBLOCK), "timerfd_create"));
        Number = _fd.Number;
    }

    public int Number { get; }

    public void StartPeriodic(TimeSpan period) => Set(period, period);

    /// <summary>Once, from now; zero or less stops it.</summary>
    public void StartOnce(TimeSpan delay) => Set(delay, TimeSpan.Zero);

    /// <summary>Resets the timer's count of expirations.</summary>
    /// <returns>False when there was none (any more: it was set anew meanwhile).</returns>
    public bool Drain()
    {
        ulong expirations;

        // SAFETY: eight bytes of our own stack.
        return LibC.read(Number, &expirations, sizeof(ulong)) == sizeof(ulong);
    }

    public void Dispose() => _fd.Dispose();

    private void Set(TimeSpan value, TimeSpan interval)
    {
        long first = Math.Max(0, (long)value.TotalNanoseconds);
        long next = (long)interval.TotalNanoseconds;
        var spec = new Itimerspec
        {
            Value = Time(first),
            Interval = Time(next),
        };

        // SAFETY: one struct on this stack.
        ErrnoException.Check(LibC.timerfd_settime(Number, 0, &spec, null), "timerfd_settime");
    }

    private static timespec Time(long nanoseconds) =>
        new() { tv_sec = nanoseconds / NanosecondsPerSecond, tv_nsec = (long_t)(nanoseconds % NanosecondsPerSecond) };
}

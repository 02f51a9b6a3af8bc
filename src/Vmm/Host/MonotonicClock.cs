namespace Vmm.Host;

/// <summary>CLOCK_MONOTONIC, which is what Stopwatch reads on Linux too, read without a transition (SuppressGCTransition):
/// for what happens at every exit.</summary>
internal static unsafe class MonotonicClock
{
    private const long Second = 1_000_000_000;

    /// <summary>Nanoseconds; comparable with Stopwatch timestamps.</summary>
    public static long Now()
    {
        LibC.Timespec now;

        // SAFETY: a struct on this stack. The call cannot fail for this clock.
        _ = LibC.ClockGettime(LibC.CLOCK_MONOTONIC, &now);
        return (now.Seconds * Second) + now.Nanoseconds;
    }
}

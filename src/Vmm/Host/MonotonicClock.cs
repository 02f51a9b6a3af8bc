using Tmds.Linux;

namespace Vmm.Host;

/// <summary>CLOCK_MONOTONIC, which is what Stopwatch reads on Linux too, read without a transition (SuppressGCTransition):
/// for what happens at every exit.</summary>
internal static unsafe class MonotonicClock
{
    private const long Second = 1_000_000_000;

    /// <summary>Nanoseconds; comparable with Stopwatch timestamps.</summary>
    public static long Now()
    {
        timespec now;

        // SAFETY: a struct on this stack. The call cannot fail for this clock.
        _ = LibC.clock_gettime(LibC.CLOCK_MONOTONIC, &now);
        return (now.tv_sec * Second) + now.tv_nsec;
    }
}

namespace Vmm.Tests.Shared;

/// <summary>For tests of "allocates nothing".</summary>
internal static class Allocations
{
    private const int MostRounds = 10;

    /// <summary>What work allocates on this thread, in bytes.</summary>
    public static long Of(Action work)
    {
        long before = GC.GetAllocatedBytesForCurrentThread();
        work();
        return GC.GetAllocatedBytesForCurrentThread() - before;
    }

    /// <summary>The least that one of some rounds of the same work allocates; 0 ends them.</summary>
    /// <remarks>What work allocates it allocates in every round. The runtime does so itself now and then, some KiB once, on a
    /// thread for which it compiles a loop anew.</remarks>
    public static long Least(Action round) => Least(() => Of(round));

    /// <summary>The same of rounds that say themselves what the part that matters allocated.</summary>
    public static long Least(Func<long> round)
    {
        long least = long.MaxValue;
        for (int i = 0; i < MostRounds && least != 0; i++)
        {
            least = Math.Min(least, round());
        }

        return least;
    }
}

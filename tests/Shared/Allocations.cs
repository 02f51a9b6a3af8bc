namespace Vmm.Tests.Shared;

/// <summary>For tests of "allocates nothing".</summary>
internal static class Allocations
{
    /// <summary>How many rounds there are at most.</summary>
    public const int MostRounds = 10;

    /// <summary>The least that one of some rounds of the same work allocated on this thread, in bytes.</summary>
    /// <param name="round">The work; each time alike.</param>
    /// <param name="leastRounds">Of them; more follow only until one allocates nothing.</param>
    /// <remarks>What work allocates it allocates in every round. The runtime does so itself now and then, some KiB once, on a
    /// thread for which it compiles a loop anew.</remarks>
    public static long Least(Action round, int leastRounds = 1)
    {
        long least = long.MaxValue;
        for (int i = 0; i < leastRounds || (i < MostRounds && least != 0); i++)
        {
            long before = GC.GetAllocatedBytesForCurrentThread();
            round();
            least = Math.Min(least, GC.GetAllocatedBytesForCurrentThread() - before);
        }

        return least;
    }
}

namespace Vmm.Bench.Operations;

/// <summary>Holds operations to the budget of 0 bytes on the garbage-collected heap.</summary>
internal static class AllocationBudget
{
    private const int Rounds = 10;
    private const int OperationsPerRound = 3000;

    /// <summary>Bytes that a round of the operation allocates on this thread; 0 is what is allowed.</summary>
    /// <remarks>What the runtime allocates once (for code that is compiled again, say) may fall into any one round; an
    /// operation that allocates does so in every round.</remarks>
    public static long Measure(Operation operation)
    {
        long least = long.MaxValue;
        for (int round = 0; round < Rounds && least != 0; round++)
        {
            long before = GC.GetAllocatedBytesForCurrentThread();
            operation.Run(OperationsPerRound);
            least = Math.Min(least, GC.GetAllocatedBytesForCurrentThread() - before);
        }

        return least;
    }

    /// <summary>Measures every operation whose name contains the text.</summary>
    /// <returns>What broke its budget, a line each; empty when all is well.</returns>
    public static IReadOnlyList<string> Check(string filter, TextWriter progress)
    {
        var broken = new List<string>();
        foreach (OperationEntry entry in OperationList.All)
        {
            if (!entry.Name.Contains(filter, StringComparison.OrdinalIgnoreCase))
            {
                continue;
            }

            using Operation operation = entry.Create();
            long bytes = Measure(operation);
            progress.WriteLine($"{(bytes == 0 ? "ok    " : "BROKEN")} {entry.Group}: {entry.Name}");
            if (bytes != 0)
            {
                broken.Add($"{entry.Group}: {entry.Name}: {(double)bytes / OperationsPerRound:0.#} bytes each, budget 0");
            }
        }

        return broken;
    }
}

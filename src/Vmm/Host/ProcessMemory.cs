namespace Vmm.Host;

/// <summary>The memory of this process, beside the guest's.</summary>
internal static class ProcessMemory
{
    /// <summary>Gives back what a start needed and nothing uses any more. Takes a millisecond or two, so only for machines of which there
    /// are many.</summary>
    public static void Trim()
    {
        GC.Collect();
        GC.WaitForPendingFinalizers();      // what has one lives until it has run
        GC.Collect(GC.MaxGeneration, GCCollectionMode.Aggressive, blocking: true, compacting: true);
        _ = LibC.malloc_trim(0);
    }
}

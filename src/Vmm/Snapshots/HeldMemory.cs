using Vmm.Host;
using Vmm.Machines;

namespace Vmm.Snapshots;

/// <summary>Finds the chunks of a guest's memory that may have content, without touching the others: reading a page for the
/// first time allocates a page table entry, and in a file a page of the page cache.</summary>
internal static class HeldMemory
{
    /// <returns>For each chunk of <see cref="MemoryChecksums"/>; true where it is unknown.</returns>
    public static bool[] Find(GuestRam ram)
    {
        ulong length = ram.Memory.Size;
        bool[] held = new bool[MemoryChecksums.Count(length)];
        if (ram.Shared is { } shared)
        {
            AddExtents(held, shared, length);
            return held;
        }

        if (ram.Content is { } content)
        {
            AddExtents(held, content, length);
        }

        if (!PageMap.TryFind(ram.HostStart, length / PageSet.PageBytes, ownOnly: false, page => held[page / ChunkPages.Count] = true))
        {
            Array.Fill(held, true);
        }

        return held;
    }

    private static void AddExtents(bool[] held, FileDescriptor file, ulong length)
    {
        foreach ((ulong start, ulong end) in FileExtents.DataOf(file, length))
        {
            for (ulong chunk = start / MemoryChecksums.ChunkBytes; chunk * MemoryChecksums.ChunkBytes < end; chunk++)
            {
                held[chunk] = true;
            }
        }
    }
}

using System.Runtime.InteropServices;
using Vmm.Host;
using Vmm.Machines;

namespace Vmm.Snapshots;

/// <summary>Finds the chunks of a guest's memory that may have content, without touching the others: reading a page for the
/// first time allocates a page table entry, and in a file a page of the page cache.</summary>
internal static class HeldMemory
{
    // Documentation/admin-guide/mm/pagemap.rst: bit 63 the page is present, bit 62 it is swapped out.
    private const ulong PresentOrSwapped = 3UL << 62;
    private const ulong PageBytes = 4096;

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

        if (!TryAddPages(held, ram.HostStart, length))
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

    private static bool TryAddPages(bool[] held, nint start, ulong length)
    {
        const string Pagemap = "/proc/self/pagemap";
        int number = LibC.open(Pagemap, LibC.O_RDONLY | LibC.O_CLOEXEC, 0);
        if (number < 0)
        {
            return false;
        }

        using var file = new FileDescriptor(number);
        using var pagemap = file.Borrow();
        ulong[] entries = new ulong[8192];
        ulong pages = length / PageBytes;
        for (ulong page = 0; page < pages;)
        {
            int wanted = (int)Math.Min((ulong)entries.Length, pages - page);
            int read = Read(pagemap, entries.AsSpan(0, wanted), ((ulong)start / PageBytes) + page);
            if (read == 0)
            {
                return false;
            }

            for (int i = 0; i < read; i++, page++)
            {
                if ((entries[i] & PresentOrSwapped) != 0)
                {
                    held[page * PageBytes / MemoryChecksums.ChunkBytes] = true;
                }
            }
        }

        return true;
    }

    private static int Read(Microsoft.Win32.SafeHandles.SafeFileHandle pagemap, Span<ulong> entries, ulong page)
    {
        try
        {
            return RandomAccess.Read(pagemap, MemoryMarshal.AsBytes(entries), (long)(page * sizeof(ulong))) / sizeof(ulong);
        }
        catch (Exception error) when (error is IOException or UnauthorizedAccessException or NotSupportedException)
        {
            return 0;
        }
    }
}

using System.Runtime.InteropServices;
using Microsoft.Win32.SafeHandles;

namespace Vmm.Host;

/// <summary>Finds the pages of a mapping that are present: /proc/self/pagemap, which any user may read except page frame numbers.</summary>
internal static class PageMap
{
    // Documentation/admin-guide/mm/pagemap.rst: bit 63 the page is present, bit 62 it is swapped out, bit 61 it is a file's page or
    // shared anonymous memory.
    private const ulong PresentOrSwapped = 3UL << 62, OfFile = 1UL << 61;
    private const ulong PageBytes = 4096;
    private const int EntriesAtOnce = 8192;

    /// <param name="start">Start of the mapping; page-aligned.</param>
    /// <param name="pages">How many it has.</param>
    /// <param name="ownOnly">Report only pages that this process has a copy of, because they were written to (private mappings of files).</param>
    /// <param name="found">Called for each page that is there, by its number in the mapping.</param>
    /// <returns>False where the host does not report them.</returns>
    public static bool TryFind(nint start, ulong pages, bool ownOnly, Action<ulong> found)
    {
        int number = LibC.open("/proc/self/pagemap", LibC.O_RDONLY | LibC.O_CLOEXEC, 0);
        if (number < 0)
        {
            return false;
        }

        using var file = new FileDescriptor(number);
        using SafeFileHandle pagemap = file.Borrow();
        ulong without = ownOnly ? OfFile : 0;
        ulong[] entries = new ulong[EntriesAtOnce];
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
                if ((entries[i] & PresentOrSwapped) != 0 && (entries[i] & without) == 0)
                {
                    found(page);
                }
            }
        }

        return true;
    }

    private static int Read(SafeFileHandle pagemap, Span<ulong> entries, ulong page)
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

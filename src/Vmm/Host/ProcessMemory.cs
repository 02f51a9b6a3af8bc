using System.Buffers;
using System.Globalization;
using Tmds.Linux;
using Vmm.Boot;

namespace Vmm.Host;

/// <summary>The memory of this process, beside the guest's.</summary>
internal static unsafe class ProcessMemory
{
    private const int StackSize = 128 << 10;

    /// <summary>Releases memory that only start-up needed, on a thread of its own, because it takes some milliseconds. For long-lived
    /// machines, of which there may be many.</summary>
    /// <remarks>Call it on the thread that did most of start-up: the array pool keeps arrays for each thread.</remarks>
    public static void TrimSoon()
    {
        EmptyPool();
        try
        {
            HostThread.Start("vmm-trim", StackSize, Trim);
        }
        catch (HostException)
        {
            // Only an optimization.
        }
    }

    /// <summary>The pool keeps one array of each size for the thread that returned it (JSON readers and writers do) for a long time. Arrays
    /// that are rented and not returned are collected.</summary>
    private static void EmptyPool()
    {
        const int Least = 1 << 10, Most = 64 << 10;
        for (int size = Least; size <= Most; size *= 2)
        {
            _ = ArrayPool<byte>.Shared.Rent(size);
        }
    }

    private static void Trim()
    {
        (nint Start, nint Length)[] code = [.. ProgramParts()];
        GC.Collect();
        GC.WaitForPendingFinalizers();      // objects with a finalizer are freed by the next collection
        GC.Collect(GC.MaxGeneration, GCCollectionMode.Aggressive, blocking: true, compacting: true);
        _ = LibC.malloc_trim(0);
        foreach ((nint start, nint length) in code)
        {
            // SAFETY: these pages are unmodified and read-only, so they are read from the file again when they are used again, mostly
            // from the page cache.
            _ = LibC.madvise((void*)start, (size_t)length, LibC.MADV_DONTNEED);
        }
    }

    /// <summary>The program's code and constants, most of which only start-up uses: mappings of its file that are read-only and were never
    /// written to (proc_pid_smaps(5): they have no anonymous page).</summary>
    private static IEnumerable<(nint Start, nint Length)> ProgramParts()
    {
        string[] lines;
        try
        {
            lines = File.ReadAllLines("/proc/self/smaps");
        }
        catch (Exception error) when (FileErrors.Describe(error) is not null)
        {
            yield break;
        }

        string end = $" {Environment.ProcessPath}";
        string? range = null;
        foreach (string line in lines)
        {
            string[] words = line.Split(' ', StringSplitOptions.RemoveEmptyEntries);
            if (words is [[.., not ':'] place, var rights, ..])
            {
                range = rights is ['r', '-', _, 'p'] && line.EndsWith(end, StringComparison.Ordinal) ? place : null;
            }
            else if (range?.Split('-') is [var from, var to] && words is ["Anonymous:", "0", ..])
            {
                nint start = nint.Parse(from, NumberStyles.HexNumber, CultureInfo.InvariantCulture);
                yield return (start, nint.Parse(to, NumberStyles.HexNumber, CultureInfo.InvariantCulture) - start);
            }
        }
    }
}

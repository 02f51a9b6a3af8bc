using System.Buffers;
using System.Globalization;
using Tmds.Linux;
using Vmm.Boot;

namespace Vmm.Host;

/// <summary>The memory of this process, beside the guest's.</summary>
internal static unsafe class ProcessMemory
{
    private const int StackSize = 128 << 10;

    /// <summary>Gives back what a start needed and nothing uses any more, on a thread of its own: it takes some milliseconds. For machines
    /// that stay, of which there may be many.</summary>
    /// <remarks>On the thread that did most of the start.</remarks>
    public static void TrimSoon()
    {
        EmptyPool();
        try
        {
            HostThread.Start("vmm-trim", StackSize, Trim);
        }
        catch (HostException)
        {
            // It is no more than a saving.
        }
    }

    /// <summary>The pool keeps an array of each size for the thread that returned it, those of JSON's readers and writers among them, and
    /// drops it only when it was not used for long: whoever takes it and does not return it leaves it to the collector.</summary>
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
        GC.WaitForPendingFinalizers();      // what has one lives until it has run
        GC.Collect(GC.MaxGeneration, GCCollectionMode.Aggressive, blocking: true, compacting: true);
        _ = LibC.malloc_trim(0);
        foreach ((nint start, nint length) in code)
        {
            // SAFETY: these pages are as the file has them, and cannot be written to: what is used again comes from the file again, which
            // is in the page cache for most of it.
            _ = LibC.madvise((void*)start, (size_t)length, LibC.MADV_DONTNEED);
        }
    }

    /// <summary>The program's code and constants, of which a start uses far more than a machine that runs: those mappings of its file
    /// that cannot be written to and never were (proc_pid_smaps(5): no page of theirs is anonymous).</summary>
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

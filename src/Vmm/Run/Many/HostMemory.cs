using System.Globalization;

namespace Vmm.Run.Many;

/// <summary>The memory that is available for machines: on the host, and in this process's control groups.</summary>
internal static class HostMemory
{
    private const string Groups = "/sys/fs/cgroup";

    /// <summary>Bytes; proc_meminfo(5)'s MemAvailable, or what is left below a limit of a control group (cgroup v2,
    /// memory.max) if that is less.</summary>
    public static ulong Available()
    {
        ulong available = ulong.MaxValue;
        foreach (string line in Lines("/proc/meminfo"))
        {
            if (line.StartsWith("MemAvailable:", StringComparison.Ordinal))
            {
                available = Number(line.Split(' ', StringSplitOptions.RemoveEmptyEntries)[1]) * 1024;
            }
        }

        string group = Lines("/proc/self/cgroup").FirstOrDefault(line => line.StartsWith("0::/", StringComparison.Ordinal)) is { } own
            ? own["0::".Length..].TrimEnd('/')
            : "";
        while (true)
        {
            if (Lines($"{Groups}{group}/memory.max") is [var limit] && limit != "max")
            {
                // Page cache that is not mapped is freed when memory is short.
                ulong used = Lines($"{Groups}{group}/memory.current") is [var current] ? Number(current) : 0;
                ulong pages = Lines($"{Groups}{group}/memory.stat")
                    .Where(line => line.StartsWith("inactive_file ", StringComparison.Ordinal))
                    .Select(line => Number(line.Split(' ')[1])).FirstOrDefault();
                ulong busy = used - Math.Min(pages, used);
                available = Math.Min(available, Number(limit) - Math.Min(busy, Number(limit)));
            }

            int up = group.LastIndexOf('/');
            if (up < 0)
            {
                return available;
            }

            group = group[..up];
        }
    }

    /// <summary>The resident memory of a process, in bytes; 0 when it has ended.</summary>
    public static ulong Resident(int pid) =>
        Lines($"/proc/{pid.ToString(CultureInfo.InvariantCulture)}/statm") is [var line]
            ? Number(line.Split(' ')[1]) * (ulong)Environment.SystemPageSize
            : 0;

    private static string[] Lines(string path)
    {
        try
        {
            return File.ReadAllLines(path);
        }
        catch (Exception error) when (error is IOException or UnauthorizedAccessException)
        {
            return [];
        }
    }

    private static ulong Number(string text) =>
        ulong.TryParse(text, NumberStyles.None, CultureInfo.InvariantCulture, out ulong number) ? number : 0;
}

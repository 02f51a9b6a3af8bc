using System.Globalization;
using Vmm.Host;

namespace Vmm.Named.Limits;

/// <summary>How many processors this process may use: those that it is allowed to run on, and no more than a container's limit.</summary>
/// <remarks>The native binary's runtime does not look for that limit, since it would at every start (Host/Native/runtime.c).</remarks>
internal static class HostProcessors
{
    /// <summary>At least 1.</summary>
    public static int Count
    {
        get
        {
            try
            {
                return Math.Min(Environment.ProcessorCount, Limit(CgroupMounts.OfThisProcess()) ?? int.MaxValue);
            }
            catch (HostException)
            {
                return Environment.ProcessorCount;      // no /proc
            }
        }
    }

    /// <summary>The limit of a process' cgroup, and with v2 of those above it, in whole processors; null for none.</summary>
    internal static int? Limit(CgroupMounts groups)
    {
        if (groups.Find(LimitKind.Cpu.OldController) is { } old)
        {
            return Processors(Read(old.Directory, LimitKind.Cpu.OldFile), Read(old.Directory, "cpu.cfs_period_us"));
        }

        int? least = null;
        for (string? at = groups.Unified?.Directory; at is not null && at.StartsWith(groups.Unified!.Mount, StringComparison.Ordinal); at = Path.GetDirectoryName(at))
        {
            // "max 100000", or microseconds of each so many (cgroup-v2.rst); the group at the top has no such file.
            if (Read(at, LimitKind.Cpu.File)?.Split(' ') is [var quota, var period] && Processors(quota, period) is { } limit)
            {
                least = Math.Min(limit, least ?? limit);
            }
        }

        return least;
    }

    private static int? Processors(string? quota, string? period) =>
        long.TryParse(quota, CultureInfo.InvariantCulture, out long time) && time > 0
        && long.TryParse(period, CultureInfo.InvariantCulture, out long all) && all > 0
            ? (int)Math.Clamp((time + all - 1) / all, 1, int.MaxValue)
            : null;

    private static string? Read(string directory, string file) => SmallFile.TryReadLine(Path.Combine(directory, file));
}

namespace Vmm.Host;

/// <summary>Files of a few lines: those of /proc, /sys and cgroups, and vmm's own.</summary>
internal static class SmallFile
{
    /// <summary>Number of the host's boot; null where it cannot be read.</summary>
    public static string? BootId { get; } = TryReadLine("/proc/sys/kernel/random/boot_id");

    /// <returns>The text; null where it cannot be read.</returns>
    public static string? TryRead(string path)
    {
        try
        {
            return File.ReadAllText(path);
        }
        catch (Exception error) when (error is IOException or UnauthorizedAccessException)
        {
            return null;
        }
    }

    /// <returns>The text without white space around it; null where it cannot be read.</returns>
    public static string? TryReadLine(string path) => TryRead(path)?.Trim();
}

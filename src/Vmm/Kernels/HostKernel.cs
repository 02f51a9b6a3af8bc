using Vmm.Host;

namespace Vmm.Kernels;

/// <summary>The kernel that this host runs, and its files.</summary>
/// <param name="CannotBeRead">Why its file cannot be read; null where it can.</param>
/// <param name="Modules">Their directory; null where there is none.</param>
internal sealed record HostKernel(string? CannotBeRead, string? Modules)
{
    /// <summary>As uname -r.</summary>
    public static string Release { get; } = ReadRelease();

    public static string Path { get; } = $"/boot/vmlinuz-{Release}";

    /// <returns>Null where there is no such file.</returns>
    public static HostKernel? Find()
    {
        if (!File.Exists(Path))
        {
            return null;
        }

        string modules = $"/lib/modules/{Release}";
        bool isReadable = LibC.access(Path, LibC.R_OK) == 0;
        return new HostKernel(
            isReadable ? null : $"may not be read; 'sudo chmod +r {Path}' allows it", Directory.Exists(modules) ? modules : null);
    }

    private static string ReadRelease()
    {
        const string Source = "/proc/sys/kernel/osrelease";
        return File.Exists(Source) ? File.ReadAllText(Source).Trim() : "";
    }
}

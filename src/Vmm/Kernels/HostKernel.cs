using System.Runtime.InteropServices;
using Vmm.Host;

namespace Vmm.Kernels;

/// <summary>The kernel that this host runs, and its files.</summary>
/// <param name="CannotBeRead">Why its file cannot be read; null where it can.</param>
/// <param name="Modules">Their directory; null where there is none.</param>
internal sealed record HostKernel(string? CannotBeRead, string? Modules)
{
    /// <summary>The release, as uname -r prints it.</summary>
    public static string Release { get; } = ReadRelease();

    public static string Path { get; } = $"/boot/vmlinuz-{Release}";

    /// <returns>Null where there is no such file.</returns>
    public static HostKernel? Find()
    {
        int errno = LibC.access(Path, LibC.R_OK) == 0 ? 0 : Marshal.GetLastPInvokeError();
        if (errno is ErrnoException.ENOENT)
        {
            return null;
        }

        string modules = $"/lib/modules/{Release}";
        string? why = errno == 0 ? null
            : File.Exists(Path) ? $"may not be read; 'sudo chmod +r {Path}' allows it"
            : ErrnoException.Describe(errno);       // the directory is closed to this user
        return new HostKernel(why, Directory.Exists(modules) ? modules : null);
    }

    private static string ReadRelease()
    {
        const string Source = "/proc/sys/kernel/osrelease";
        return File.Exists(Source) ? File.ReadAllText(Source).Trim() : "";
    }
}

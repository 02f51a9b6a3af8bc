using Vmm.Boot;

namespace Vmm.Host;

/// <summary>The working directory of this process, whose name need not be UTF-8.</summary>
internal static class WorkingDirectory
{
    /// <exception cref="HostException">It was removed.</exception>
    public static string Path => HostFile.RealPath(".")
        ?? throw new HostException("the working directory was removed; change to one that is there");

    /// <summary>The path, where it has to be kept as text.</summary>
    /// <exception cref="UsageException">It is not UTF-8.</exception>
    public static string Text => Path is var path && FileNames.IsText(path)
        ? path
        : throw new UsageException("the name of the working directory is not UTF-8, and cannot be kept; start it from another one");
}

namespace Vmm.Host;

/// <summary>How a program is installed on this host, for messages.</summary>
internal static class PackageManager
{
    /// <summary>Has this host dnf, as Fedora's relatives do, and no apt?</summary>
    public static bool IsDnf => Find("apt-get") is null && Find("dnf") is not null;

    /// <summary>The command that installs packages.</summary>
    /// <param name="debian">The packages that have it in Debian; with a remark, if need be.</param>
    /// <param name="fedora">Those of Fedora; null where they have the same names.</param>
    public static string Install(string debian, string? fedora = null) =>
        IsDnf ? $"dnf install {fedora ?? debian}" : $"on Debian or Ubuntu: apt-get install {debian}";

    /// <summary>Finds a program by PATH, and then in some more directories.</summary>
    /// <returns>Its path; null where there is none that this user may execute.</returns>
    public static string? Find(string program, params ReadOnlySpan<string> more)
    {
        string[] path = (Environment.GetEnvironmentVariable("PATH") ?? "").Split(':');
        return path.Where(static directory => directory.StartsWith('/')).Concat(more.ToArray())
            .Select(directory => $"{directory}/{program}")
            .FirstOrDefault(static file => LibC.access(file, LibC.X_OK) == 0);
    }
}

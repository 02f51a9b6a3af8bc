using System.Globalization;
using Vmm.Host;

namespace Vmm.Named;

/// <summary>Where sockets of machines with a name are: <c>$VMM_RUNTIME_DIR</c>; if that is not set <c>$XDG_RUNTIME_DIR/vmm</c>; else below
/// /run/user/UID, or in a directory of this user's only below /tmp.</summary>
internal static class RuntimeRoot
{
    public const string Variable = "VMM_RUNTIME_DIR";

    private const string Vmm = "vmm";

    /// <summary>The directory, which is there then.</summary>
    /// <exception cref="HostException">It is somebody else's, or cannot be made.</exception>
    public static string Find() => Find(
        Environment.GetEnvironmentVariable(Variable), Environment.GetEnvironmentVariable("XDG_RUNTIME_DIR"), "/run/user", "/tmp", LibC.geteuid());

    /// <inheritdoc cref="Find()"/>
    /// <param name="own">What VMM_RUNTIME_DIR says; a relative path is ignored.</param>
    /// <param name="variable">What XDG_RUNTIME_DIR says; a relative path is to be ignored.</param>
    /// <param name="users">/run/user.</param>
    /// <param name="temporary">/tmp.</param>
    internal static string Find(string? own, string? variable, string users, string temporary, uint user)
    {
        string number = user.ToString(CultureInfo.InvariantCulture);
        string usual = Path.Combine(users, number);
        string root = own is ['/', ..] ? own
            : variable is ['/', ..] ? Path.Combine(variable, Vmm)
            : IsOwn(usual, user) ? Path.Combine(usual, Vmm)
            : Path.Combine(temporary, $"{Vmm}-{number}");
        if (new FileInfo(root).LinkTarget is not null)
        {
            throw new HostException($"{root}: is a link; remove it, or set XDG_RUNTIME_DIR");
        }

        PrivateFiles.MakeDirectory(root);
        return root;
    }

    private static bool IsOwn(string path, uint user) =>
        HostFile.TryStatus(path, out Statx status) && (status.Mode & LibC.S_IFMT) == LibC.S_IFDIR && status.UserId == user;
}

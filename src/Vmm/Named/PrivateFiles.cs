using Vmm.Boot;
using Vmm.Host;

namespace Vmm.Named;

/// <summary>Files and directories that are this user's only: modes 0600 and 0700, whatever the umask.</summary>
internal static class PrivateFiles
{
    public const UnixFileMode DirectoryMode = UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute;
    public const UnixFileMode OwnerOnly = UnixFileMode.UserRead | UnixFileMode.UserWrite;

    private const UnixFileMode OfOthers = (UnixFileMode)0x3f;       // rwxrwx

    /// <summary>A new file, or one that is emptied.</summary>
    public static FileStream Create(string path) => new(path, new FileStreamOptions
    {
        Mode = FileMode.Create,
        Access = FileAccess.Write,
        Share = FileShare.ReadWrite | FileShare.Delete,
        UnixCreateMode = OwnerOnly,
        BufferSize = 0,
    });

    /// <summary>Makes a directory and those above it, as far as they are missing, and checks that it is this user's.</summary>
    /// <exception cref="HostException">It cannot be made, or somebody else can reach what is in it.</exception>
    public static void MakeDirectory(string path)
    {
        try
        {
            Directory.CreateDirectory(path, DirectoryMode);
        }
        catch (Exception error) when (FileErrors.Describe(error) is { } why)
        {
            throw new HostException($"{path}: {why}{FileErrors.Remedy(error.HResult)}");
        }

        Check(path);
    }

    /// <exception cref="HostException">It is no directory of this user's, or others may write to it.</exception>
    public static void Check(string path)
    {
        if (!HostFile.TryStatus(path, out Statx status) || (status.Mode & LibC.S_IFMT) != LibC.S_IFDIR)
        {
            throw new HostException($"{path}: is no directory");
        }

        if (status.UserId != LibC.geteuid())
        {
            throw new HostException($"{path}: belongs to another user (uid {status.UserId})");
        }

        if (((UnixFileMode)status.Mode & OfOthers) != 0)
        {
            throw new HostException($"{path}: others may use it; have it for yourself: chmod 700 {path}");
        }
    }
}

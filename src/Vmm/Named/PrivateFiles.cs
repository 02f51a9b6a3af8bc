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

    /// <summary>Is the disk full, or this user's part of it?</summary>
    public static bool IsFull(Exception error) => error is IOException { HResult: var errno } && (errno == LibC.ENOSPC || errno == LibC.EDQUOT);

    /// <summary>Writes over a file that is there, with the room that it has.</summary>
    /// <returns>False where it has not so much, or cannot be written; it is unchanged then.</returns>
    public static bool TryWriteOver(string path, ReadOnlySpan<byte> content)
    {
        try
        {
            if (!HostFile.TryStatus(path, out Statx status) || status.Blocks * 512 < (ulong)content.Length)
            {
                return false;
            }

            using var file = new FileStream(path, FileMode.Open, FileAccess.Write, FileShare.ReadWrite | FileShare.Delete, bufferSize: 0);
            file.Write(content);
            file.SetLength(content.Length);
            return true;
        }
        catch (Exception error) when (error is IOException or UnauthorizedAccessException)
        {
            return false;
        }
    }

    public static void TryDelete(string path)
    {
        try
        {
            File.Delete(path);
        }
        catch (Exception error) when (error is IOException or UnauthorizedAccessException)
        {
            // It stays.
        }
    }

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

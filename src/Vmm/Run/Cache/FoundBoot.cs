using System.Runtime.InteropServices;
using Vmm.Host;
using Vmm.Snapshots;

namespace Vmm.Run.Cache;

/// <summary>A machine to go on from. What is open here stays as it is, whatever becomes of its name meanwhile.</summary>
internal sealed class FoundBoot : IDisposable
{
    // Reads, and writes to the end (O_CREAT with rw-------).
    private const int OwnerOnly = 0x180;

    private readonly FileDescriptor _directory;

    private FoundBoot(string path, FileDescriptor directory, Snapshot snapshot, ulong uses) =>
        (Path, _directory, Snapshot, Uses) = (path, directory, snapshot, uses);

    public Snapshot Snapshot { get; }

    /// <summary>How often it was found, this time too.</summary>
    public ulong Uses { get; }

    /// <summary>Where it was found.</summary>
    public string Path { get; }

    /// <returns>Null where there is none with that key, or not for this user.</returns>
    /// <exception cref="UsageException">It is damaged.</exception>
    /// <exception cref="HostException">It cannot be read.</exception>
    public static FoundBoot? TryOpen(string path, BootKey key)
    {
        int number = LibC.open(path, LibC.O_RDONLY | LibC.O_DIRECTORY | LibC.O_CLOEXEC, 0);
        if (number < 0)
        {
            return null;
        }

        // All files by this descriptor: under the same name there may be another one a moment later.
        var directory = new FileDescriptor(number);
        string files = $"/proc/self/fd/{number}";
        Snapshot? snapshot = null;
        try
        {
            if (SmallFile.TryRead($"{files}/{CachedBoot.KeyFile}") == key.Text)
            {
                snapshot = Snapshot.Open(files);
                if (snapshot.IsTrusted)
                {
                    return new FoundBoot(path, directory, snapshot, CountUse(files));
                }
            }

            snapshot?.Dispose();
            directory.Dispose();
            return null;
        }
        catch
        {
            snapshot?.Dispose();
            directory.Dispose();
            throw;
        }
    }

    /// <summary>Is it still what its name leads to?</summary>
    public bool HasName => HostFile.TryStatus(Path, out Statx named) && HostFile.TryStatus($"/proc/self/fd/{_directory.Number}", out Statx own)
        && named.IsSameFile(own);

    public void Dispose()
    {
        Snapshot.Dispose();
        _directory.Dispose();
    }

    /// <summary>A byte at the end for each use: several vmms may do that at once. Its time is that of the last use.</summary>
    private static unsafe ulong CountUse(string files)
    {
        string path = $"{files}/{CachedBoot.UsesFile}";
        int number = LibC.open(path, LibC.O_WRONLY | LibC.O_APPEND | LibC.O_CREAT | LibC.O_CLOEXEC, OwnerOnly);
        if (number < 0)
        {
            return 0;       // a file system that is read-only now: it is not counted
        }

        using var file = new FileDescriptor(number);
        byte one = (byte)'.';

        // SAFETY: one byte of this stack.
        bool isCounted = LibC.write(number, &one, 1) == 1;
        return isCounted && HostFile.TryStatus($"/proc/self/fd/{number}", out Statx status) ? status.Size : 0;
    }
}

using System.Text;
using Vmm.Host;
using Vmm.Kernels;
using Vmm.Machines;
using Vmm.Snapshots;

namespace Vmm.Run.Cache;

/// <summary>Machines that have booted, each up to where its agent waits for what to do: <c>$XDG_CACHE_HOME/vmm/boots</c>. What is there
/// can be deleted at any time.</summary>
/// <param name="root">The directory; it need not be there.</param>
internal sealed class BootCache(string root)
{
    /// <summary>Bytes on the disk that all entries may take.</summary>
    public const ulong MostBytes = 2UL << 30;

    private const string KeyFile = "key";

    // A machine stands still meanwhile; a host that takes longer is too busy.
    private static readonly TimeSpan Patience = TimeSpan.FromSeconds(5);

    public static BootCache Default { get; } = new(Path.Combine(KernelStore.CacheDirectory, "vmm", "boots"));

    /// <summary>The machine that booted with that key; null where there is none.</summary>
    public Snapshot? Find(BootKey key)
    {
        string directory = DirectoryOf(key);
        try
        {
            if (!HostFile.TryStatus(Path.Combine(directory, KeyFile), out _) || File.ReadAllText(Path.Combine(directory, KeyFile)) != key.Text)
            {
                return null;
            }

            Snapshot snapshot = Snapshot.Open(directory);
            if (!snapshot.IsTrusted)
            {
                snapshot.Dispose();
                return null;
            }

            Directory.SetLastWriteTimeUtc(directory, DateTime.UtcNow);
            return snapshot;
        }
        catch (Exception error) when (error is UsageException or HostException or IOException or UnauthorizedAccessException)
        {
            Discard(key);
            return null;
        }
    }

    /// <summary>Saves a machine whose guest waits to be told what to do. Not from one of its threads. A cache that cannot be written to
    /// is none: no error.</summary>
    public void Add(BootKey key, Machine machine, string version)
    {
        try
        {
            string directory = DirectoryOf(key);
            Directory.CreateDirectory(root, UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute);
            if (Find(key) is { } already)
            {
                already.Dispose();      // of a run beside this one
                return;
            }

            SnapshotWriter.Write(machine, directory, version, new SnapshotOptions
            {
                Patience = Patience,
                IsDurable = false,
                Extra = [(KeyFile, Encoding.UTF8.GetBytes(key.Text))],
            });
            Prune(MostBytes, keep: directory);
        }
        catch (Exception error) when (error is UsageException or HostException or IOException or UnauthorizedAccessException
            or NotSupportedException or InvalidOperationException or ErrnoException)
        {
            // The next run tries again.
        }
    }

    /// <summary>Takes an entry out; machines that go on from it keep their memory.</summary>
    public void Discard(BootKey key) => TryDelete(DirectoryOf(key));

    /// <summary>All entries, the one that was used last in front.</summary>
    public IReadOnlyList<CachedBoot> List() => !Directory.Exists(root)
        ? []
        : [.. Directory.EnumerateDirectories(root).Select(CachedBoot.Of).OrderByDescending(static boot => boot.Used)];

    /// <summary>Deletes those that were not used for longest, until the rest takes no more than so many bytes.</summary>
    /// <returns>What was deleted.</returns>
    public IReadOnlyList<CachedBoot> Prune(ulong most, string? keep = null)
    {
        var deleted = new List<CachedBoot>();
        ulong bytes = 0;
        foreach (CachedBoot boot in List())
        {
            bytes += boot.Bytes;
            if (bytes > most && boot.Directory != keep && TryDelete(boot.Directory))
            {
                bytes -= boot.Bytes;
                deleted.Add(boot);
            }
        }

        return deleted;
    }

    private static bool TryDelete(string directory)
    {
        try
        {
            Directory.Delete(directory, recursive: true);
            return true;
        }
        catch (Exception error) when (error is IOException or UnauthorizedAccessException)
        {
            return false;
        }
    }

    private string DirectoryOf(BootKey key) => Path.Combine(root, key.Name);
}

/// <summary>An entry of the cache.</summary>
/// <param name="Bytes">That it takes on the disk.</param>
internal sealed record CachedBoot(string Directory, ulong Bytes, DateTime Used)
{
    public static CachedBoot Of(string directory)
    {
        ulong bytes = 0;
        foreach (string file in (string[])[SnapshotFiles.Head, SnapshotFiles.State, SnapshotFiles.MemoryChecksums, SnapshotFiles.Memory])
        {
            bytes += HostFile.TryStatus(Path.Combine(directory, file), out Statx status) ? status.Blocks * 512 : 0;
        }

        return new CachedBoot(directory, bytes, System.IO.Directory.GetLastWriteTimeUtc(directory));
    }

    /// <summary>What it says of itself, which takes reading its files.</summary>
    /// <returns>The kernel as its machine was given, and the machine's bytes of memory; empty and 0 where that is not known.</returns>
    public (string Kernel, ulong Memory) Describe()
    {
        try
        {
            using Snapshot snapshot = Snapshot.Open(Directory);
            return (snapshot.Head.Machine.Kernel, snapshot.Head.Machine.Memory);
        }
        catch (Exception error) when (error is UsageException or HostException)
        {
            return ("", 0);
        }
    }
}

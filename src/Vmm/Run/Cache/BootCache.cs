using System.Globalization;
using System.Text;
using Vmm.Boot;
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

    // What is being deleted is called so first, so that nobody finds half of it.
    private const string Gone = ".gone";

    // A machine stands still meanwhile; a host that takes longer is too busy.
    private static readonly TimeSpan Patience = TimeSpan.FromSeconds(5);

    public static BootCache Default { get; } = new(Path.Combine(CacheDirectory.OfVmm, "boots"));

    /// <summary>Finds a machine that booted with that key, one of several by chance; or that one is to boot.</summary>
    /// <param name="place">The place for one that boots: below <see cref="CacheEntries.Count"/>.</param>
    /// <param name="why">Why one is to boot although others have; null where that needs no words.</param>
    public FoundBoot? Find(BootKey key, CacheEntries entries, out int place, out string? why)
    {
        why = null;
        int missing = Enumerable.Range(0, entries.Count).FirstOrDefault(each => !Directory.Exists(DirectoryOf(key, each)), -1);
        if (missing >= 0)
        {
            place = missing;
            why = missing == 0 ? null : string.Create(CultureInfo.InvariantCulture, $"{missing} of {entries.Count} that are to be kept have booted");
            return null;
        }

        place = entries.Count == 1 ? 0 : Random.Shared.Next(entries.Count);
        string directory = DirectoryOf(key, place);
        try
        {
            FoundBoot? found = FoundBoot.TryOpen(directory, key);
            if (found is null || entries.Uses == 0 || found.Uses <= (ulong)entries.Uses)
            {
                return found;
            }

            why = string.Create(CultureInfo.InvariantCulture, $"the one that had booted was used {entries.Uses} times");
            Discard(found);
            return null;
        }
        catch (Exception error) when (error is UsageException or HostException)
        {
            TryDelete(directory);
            return null;
        }
    }

    /// <summary>Saves a machine whose guest waits to be told what to do. Not from one of its threads. A cache that cannot be written to
    /// is none: no error.</summary>
    public void Add(BootKey key, int place, Machine machine, string version)
    {
        try
        {
            string directory = DirectoryOf(key, place);
            Directory.CreateDirectory(root, UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute);
            SnapshotWriter.Write(machine, directory, version, new SnapshotOptions
            {
                Patience = Patience,
                IsDurable = false,
                Extra = [(CachedBoot.KeyFile, Encoding.UTF8.GetBytes(key.Text)), (CachedBoot.OriginFile, Encoding.UTF8.GetBytes(key.Origin))],
            });
            Prune(MostBytes, keep: directory);
        }
        catch (Exception error) when (error is UsageException or HostException or IOException or UnauthorizedAccessException
            or NotSupportedException or InvalidOperationException or ErrnoException)
        {
            // The next run tries again; or one beside this one has done it already.
        }
    }

    /// <summary>Takes an entry out; machines that go on from it keep their memory.</summary>
    public static void Discard(FoundBoot boot)
    {
        if (boot.HasName)
        {
            TryDelete(boot.Path);
        }
    }

    /// <summary>All entries, the one that was used last in front.</summary>
    /// <exception cref="HostException">The directory cannot be read.</exception>
    public IReadOnlyList<CachedBoot> List()
    {
        var boots = new List<CachedBoot>();
        foreach (string directory in Subdirectories.Of(root))
        {
            try
            {
                if (!PartialDirectory.IsBeingWritten(directory))
                {
                    boots.Add(CachedBoot.Of(directory));
                }
            }
            catch (Exception error) when (error is IOException or UnauthorizedAccessException)
            {
                // Somebody has deleted it meanwhile.
            }
        }

        return [.. boots.OrderByDescending(static boot => boot.Used)];
    }

    /// <summary>Deletes those that no run can go on from any more, and then those that were not used for longest, until the rest takes no
    /// more than so many bytes.</summary>
    /// <returns>What was deleted.</returns>
    public IReadOnlyList<CachedBoot> Prune(ulong most, string? keep = null)
    {
        var deleted = new List<CachedBoot>();
        ulong bytes = 0;
        foreach (CachedBoot boot in List())
        {
            bytes += boot.Bytes;
            if ((bytes > most || boot.IsStale) && boot.Directory != keep && TryDelete(boot.Directory))
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
            string gone = directory.EndsWith(Gone, StringComparison.Ordinal) ? directory : $"{directory}.{Environment.ProcessId}{Gone}";
            if (gone != directory)
            {
                Directory.Move(directory, gone);
            }

            Directory.Delete(gone, recursive: true);
            return true;
        }
        catch (Exception error) when (error is IOException or UnauthorizedAccessException)
        {
            return false;
        }
    }

    private string DirectoryOf(BootKey key, int place) => Path.Combine(root, string.Create(CultureInfo.InvariantCulture, $"{key.Name}-{place}"));
}

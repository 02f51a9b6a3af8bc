using Vmm.Host;
using Vmm.Snapshots;

namespace Vmm.Run.Cache;

/// <summary>An entry of the cache, for whoever looks at all of them.</summary>
/// <param name="Bytes">That it takes on the disk.</param>
/// <param name="Uses">How often a run went on from it.</param>
/// <param name="IsStale">No run can go on from it any more.</param>
internal sealed record CachedBoot(string Directory, ulong Bytes, DateTime Used, ulong Uses, bool IsStale)
{
    /// <summary>Its files beside those of a snapshot: its key, what that was made of, and a byte for each use.</summary>
    public const string KeyFile = SnapshotFiles.Key, OriginFile = SnapshotFiles.Origin, UsesFile = "uses";

    public static CachedBoot Of(string directory)
    {
        ulong bytes = 0;
        foreach (string file in System.IO.Directory.EnumerateFiles(directory))
        {
            bytes += HostFile.TryStatus(file, out Statx status) ? status.Blocks * 512 : 0;
        }

        string uses = Path.Combine(directory, UsesFile);
        bool isUsed = HostFile.TryStatus(uses, out Statx used);
        return new CachedBoot(
            directory, bytes, isUsed ? File.GetLastWriteTimeUtc(uses) : System.IO.Directory.GetLastWriteTimeUtc(directory), isUsed ? used.Size : 0,
            BootOrigin.IsStale(Path.Combine(directory, OriginFile)));
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

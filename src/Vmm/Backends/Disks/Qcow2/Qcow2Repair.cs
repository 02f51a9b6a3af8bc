using Vmm.Host;

namespace Vmm.Backends.Disks.Qcow2;

/// <summary>Counts the clusters again. An image with lazy refcounts that was not closed has its dirty bit set: its map is
/// correct, its counts may be too low, so they must be corrected before anything is allocated.</summary>
internal static class Qcow2Repair
{
    /// <summary>Clusters of a file that are counted in memory at most (two bytes each).</summary>
    private const ulong MaxClusters = 64 << 20;

    /// <exception cref="UsageException">It cannot be done here.</exception>
    public static void Run(
        BlockFile file, Qcow2Header header, Qcow2Map map, Qcow2Refcounts refcounts, HashSet<ulong> metadata)
    {
        ulong clusters = (file.Length + header.ClusterSize - 1) >> header.ClusterBits;
        if (clusters > MaxClusters)
        {
            throw NeedsTool(file, "it is too large to be counted here");
        }

        var counts = new ushort[clusters];
        foreach (ulong cluster in metadata)
        {
            Count(file, counts, cluster);
        }

        CountData(file, header, map, counts);
        ulong most = header.RefcountOrder >= 4 ? ushort.MaxValue : (1UL << (1 << header.RefcountOrder)) - 1;
        for (ulong cluster = 0; cluster < clusters; cluster++)
        {
            ulong count = counts[cluster];
            if (refcounts.TryGet(cluster, out ulong known) != Qcow2Status.Ok)
            {
                throw NeedsTool(file, "its refcounts cannot be read");
            }

            if (known == count)
            {
                continue;
            }

            Qcow2Status status = count <= most ? refcounts.TrySet(cluster, count) : Qcow2Status.Error;
            if (status == Qcow2Status.Error || (refcounts.IsNearlyFull && !refcounts.TryWriteBlocks()))
            {
                throw NeedsTool(file, $"cluster {cluster} cannot be counted");
            }
        }

        ulong clean = header.Incompatible & ~Qcow2Format.IncompatibleDirty;
        if (!refcounts.TryWriteBlocks() || !file.TryFlush()
            || !Qcow2Header.TryWriteFeatures(file, Qcow2Format.IncompatibleField, clean))
        {
            throw NeedsTool(file, "it cannot be written");
        }
    }

    private static void CountData(BlockFile file, Qcow2Header header, Qcow2Map map, ushort[] counts)
    {
        ulong perTable = 1UL << header.L2Bits;
        for (int l1Index = 0; l1Index < map.L1Entries; l1Index++)
        {
            if (map.TableAt(l1Index) == 0)
            {
                continue;
            }

            for (ulong i = 0; i < perTable; i++)
            {
                if (map.TryGetEntry(((ulong)l1Index << header.L2Bits) + i, out ulong entry) != Qcow2Status.Ok)
                {
                    throw NeedsTool(file, "its map cannot be read");
                }

                ulong offset = entry & Qcow2Format.OffsetMask;
                ulong length = 1;
                if ((entry & Qcow2Format.Compressed) != 0)
                {
                    (offset, length) = Qcow2Decompressor.Locate(entry, header.ClusterBits);
                }

                if (offset == 0)
                {
                    continue;
                }

                for (ulong at = offset >> header.ClusterBits; at <= (offset + length - 1) >> header.ClusterBits; at++)
                {
                    Count(file, counts, at);
                }
            }
        }
    }

    private static void Count(BlockFile file, ushort[] counts, ulong cluster)
    {
        // A reference past the end is damage that counting cannot repair.
        if (cluster >= (ulong)counts.Length || counts[cluster] == ushort.MaxValue)
        {
            throw NeedsTool(file, $"it refers to cluster {cluster}, which the file does not have");
        }

        counts[cluster]++;
    }

    private static UsageException NeedsTool(BlockFile file, string why) => Qcow2Header.Wrong(
        file, $"the image was not closed properly, and {why}; repair it: qemu-img check -r all {file.Path}");
}

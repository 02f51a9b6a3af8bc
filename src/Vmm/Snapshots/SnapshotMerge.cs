using Vmm.Boot;
using Vmm.Host;
using Vmm.Machines;
using Vmm.Text;

namespace Vmm.Snapshots;

/// <summary>Puts a snapshot and a diff to it together to a whole one.</summary>
internal static class SnapshotMerge
{
    /// <param name="baseDirectory">A whole snapshot; only read.</param>
    /// <param name="diffDirectory">A diff to it; only read.</param>
    /// <param name="directory">Must not exist.</param>
    /// <returns>Bytes of memory in the new one; the rest is zero.</returns>
    /// <exception cref="UsageException">They do not belong together, or one is damaged. Nothing is left behind.</exception>
    /// <exception cref="HostException">The host cannot.</exception>
    public static ulong Merge(string baseDirectory, string diffDirectory, string directory)
    {
        using Snapshot before = Snapshot.OpenAny(baseDirectory);
        using Snapshot diff = Snapshot.OpenAny(diffDirectory);
        Check(before, diff);
        using PartialDirectory files = PartialDirectory.Create(directory);
        try
        {
            using FileDescriptor memory = files.CreateFile(SnapshotFiles.Memory);
            ulong written = MergeMemory(before, diff, memory);
            files.Sync(memory, SnapshotFiles.Memory);
            for (int i = 0; i < diff.Head.Machine.Disks.Count; i++)
            {
                if (diff.Head.Machine.Disks[i].HasOverlay)
                {
                    string name = SnapshotFiles.Overlay(i);
                    using FileDescriptor from = diff.OpenFile(name);
                    using FileDescriptor to = files.CreateFile(name);
                    FileExtents.Copy(from, to);
                    files.Sync(to, name);
                }
            }

            files.CreateFile(SnapshotFiles.State, diff.State.Span);
            files.CreateFile(SnapshotFiles.MemoryChecksums, MemoryChecksums.ToBytes(diff.Checksums));
            files.CreateFile(SnapshotFiles.Head, (diff.Head with { Base = null }).ToBytes());
            files.Complete();
            return written;
        }
        catch (Exception error) when (error is IOException or UnauthorizedAccessException)
        {
            throw new HostException($"{directory}: {FileErrors.Describe(error)}: nothing was made");
        }
    }

    private static void Check(Snapshot before, Snapshot diff)
    {
        if (before.Head.Base is not null)
        {
            throw new UsageException($"{before.Directory}: is a diff itself: merge it with its own base first, and give what comes of that");
        }

        if (diff.Head.Base is not { } record)
        {
            throw new UsageException($"{diff.Directory}: is whole already: 'vmm restore' takes it as it is");
        }

        if (record.Id != before.Head.Id || record.Checksums != before.Head.Checksums || diff.Head.Machine.Memory != before.Head.Machine.Memory)
        {
            throw new UsageException(
                $"{before.Directory}: is not what {diff.Directory} is a diff to; that was in {PrintableText.Of(record.Directory)}");
        }
    }

    private static ulong MergeMemory(Snapshot before, Snapshot diff, FileDescriptor target)
    {
        using var file = target.Borrow();
        ulong length = diff.Head.Machine.Memory, written = 0;
        target.SetLength(length);
        byte[] buffer = new byte[MemoryChecksums.ChunkBytes];
        for (int i = 0; i < diff.Checksums.Length; i++)
        {
            (ulong start, int bytes) = MemoryChecksums.Place(i, length);
            Span<byte> chunk = buffer.AsSpan(0, bytes);
            ushort pages = diff.Pages!.Sixteen(i);
            if (pages != 0 || before.Checksums[i] != 0 || diff.Checksums[i] != 0)
            {
                before.ReadChunk(i, chunk);
                diff.ReadPages(i, pages, chunk);
                foreach (Range run in ChunkPages.Runs(ChunkPages.NotZero(chunk), bytes))
                {
                    RandomAccess.Write(file, chunk[run], (long)start + run.Start.Value);
                    written += (ulong)chunk[run].Length;
                }
            }
        }

        return written;
    }
}

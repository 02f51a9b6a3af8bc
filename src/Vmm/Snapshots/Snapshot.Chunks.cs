using Vmm.Boot;
using Vmm.Host;
using Vmm.Machines;

namespace Vmm.Snapshots;

/// <summary>Memory of a snapshot, read in parts, each checked.</summary>
internal sealed partial class Snapshot
{
    /// <summary>Opens one of its files.</summary>
    /// <exception cref="UsageException">There is no such file.</exception>
    public FileDescriptor OpenFile(string name) => OpenFile(Path.Combine(Directory, name), out _);

    /// <inheritdoc/>
    public ulong PutBack(GuestRam ram, PageSet? written) => MemoryFile.PutBack(ram, written, chunk => Checksums[chunk] != 0, ReadChunk);

    /// <summary>Reads a chunk of memory (<see cref="MemoryChecksums"/>) of a whole one.</summary>
    /// <param name="chunk">As long as the chunk is.</param>
    /// <exception cref="UsageException">It is damaged.</exception>
    /// <exception cref="IOException">The host cannot read it.</exception>
    public void ReadChunk(int index, Span<byte> chunk)
    {
        chunk.Clear();
        ReadPages(index, Checksums[index] == 0 ? (ushort)0 : ushort.MaxValue, chunk);
    }

    /// <summary>Reads pages of a chunk over what was there before, which must make up the chunk.</summary>
    /// <param name="pages">Bit n: page n of the chunk.</param>
    /// <inheritdoc cref="ReadChunk"/>
    public void ReadPages(int index, ushort pages, Span<byte> chunk)
    {
        using var file = _memory.Borrow();
        ulong start = (ulong)index * MemoryChecksums.ChunkBytes;
        foreach (Range run in ChunkPages.Runs(pages, chunk.Length))
        {
            MemoryFile.Fill(file, MemoryPath, chunk[run], start + (ulong)run.Start.Value);
        }

        if (MemoryChecksums.Of(chunk) != Checksums[index])
        {
            throw new UsageException($"{MemoryPath}: is damaged between its bytes {start} and {start + (ulong)chunk.Length}");
        }
    }

    private string MemoryPath => Path.Combine(Directory, SnapshotFiles.Memory);
}

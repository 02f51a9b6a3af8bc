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
        for (int from = 0, at = 0; at <= chunk.Length; at += PageSet.PageBytes)
        {
            if (at < chunk.Length && (pages & (1 << (at / PageSet.PageBytes))) != 0)
            {
                continue;
            }

            if (at > from)
            {
                Read(file, chunk[from..at], start + (ulong)from);
            }

            from = at + PageSet.PageBytes;
        }

        if (MemoryChecksums.Of(chunk) != Checksums[index])
        {
            throw new UsageException($"{MemoryPath}: is damaged between its bytes {start} and {start + (ulong)chunk.Length}");
        }
    }

    private string MemoryPath => Path.Combine(Directory, SnapshotFiles.Memory);

    private void Read(Microsoft.Win32.SafeHandles.SafeFileHandle file, Span<byte> bytes, ulong at)
    {
        while (!bytes.IsEmpty)
        {
            int count = RandomAccess.Read(file, bytes, (long)at);
            if (count == 0)
            {
                throw new UsageException($"{MemoryPath}: has become shorter while it was read");
            }

            bytes = bytes[count..];
            at += (ulong)count;
        }
    }
}

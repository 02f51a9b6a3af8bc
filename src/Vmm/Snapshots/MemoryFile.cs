using Vmm.Host;

namespace Vmm.Snapshots;

/// <summary>Reads guest memory from the sparse file that <see cref="MemoryCopy"/> wrote.</summary>
internal static class MemoryFile
{
    private const ulong MostAtOnce = 16 << 20;

    /// <summary>Reads all of it, and checks it.</summary>
    /// <param name="start">Zeroed memory of this process.</param>
    /// <param name="length">Bytes; as many as the file has.</param>
    /// <exception cref="UsageException">The file is damaged.</exception>
    /// <exception cref="IOException">The host cannot read it.</exception>
    public static unsafe void Read(FileDescriptor file, string name, nint start, ulong length, ReadOnlySpan<uint> checksums)
    {
        bool[] read = Read(file, name, start, length);
        for (int i = 0; i < checksums.Length; i++)
        {
            if (!read[i] && checksums[i] == 0)
            {
                continue;       // nothing was read there, and to look would take memory
            }

            ulong at = (ulong)i * MemoryChecksums.ChunkBytes;

            // SAFETY: a chunk of the memory.
            var chunk = new ReadOnlySpan<byte>((byte*)start + at, (int)Math.Min(MemoryChecksums.ChunkBytes, length - at));
            if (MemoryChecksums.Of(chunk) != checksums[i])
            {
                throw new UsageException($"{name}: is damaged between its bytes {at} and {at + (ulong)chunk.Length}");
            }
        }
    }

    /// <summary>Reads all of it.</summary>
    /// <returns>In which chunks there was data.</returns>
    /// <inheritdoc cref="Read(FileDescriptor, string, nint, ulong, ReadOnlySpan{uint})"/>
    public static unsafe bool[] Read(FileDescriptor file, string name, nint start, ulong length)
    {
        using var source = file.Borrow();
        bool[] read = new bool[MemoryChecksums.Count(length)];
        foreach ((ulong from, ulong end) in FileExtents.DataOf(file, length))
        {
            read.AsSpan((int)(from / MemoryChecksums.ChunkBytes), MemoryChecksums.Count(end) - (int)(from / MemoryChecksums.ChunkBytes)).Fill(true);
            for (ulong at = from; at < end;)
            {
                // SAFETY: at + the span's length is at most length, which is how much memory there is.
                var part = new Span<byte>((byte*)start + at, (int)Math.Min(end - at, MostAtOnce));
                int count = RandomAccess.Read(source, part, (long)at);
                if (count == 0)
                {
                    throw new UsageException($"{name}: has become shorter while it was read");
                }

                at += (ulong)count;
            }
        }

        return read;
    }
}

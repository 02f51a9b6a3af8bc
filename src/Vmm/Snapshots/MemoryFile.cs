using Vmm.Host;
using Vmm.Machines;

namespace Vmm.Snapshots;

/// <summary>Reads guest memory from the sparse file that <see cref="MemoryCopy"/> wrote.</summary>
internal static class MemoryFile
{
    private const ulong MostAtOnce = 16 << 20;

    /// <summary>Puts memory back as it was when it was saved.</summary>
    /// <param name="written">Pages that may differ; null where all may.</param>
    /// <returns>Pages that were put back.</returns>
    /// <exception cref="UsageException">The file is damaged; part of the memory may have been put back.</exception>
    /// <exception cref="IOException">The host cannot read it; likewise.</exception>
    public static unsafe ulong PutBack(Snapshot saved, GuestRam ram, PageSet? written)
    {
        ulong length = ram.Memory.Size, count = 0;
        bool[]? held = written is null ? HeldMemory.Find(ram) : null;
        byte[] buffer = new byte[MemoryChecksums.ChunkBytes];
        for (int i = 0; i < saved.Checksums.Length; i++)
        {
            ushort pages = written?.Sixteen(i) ?? (held![i] || saved.Checksums[i] != 0 ? ushort.MaxValue : (ushort)0);
            if (pages == 0)
            {
                continue;
            }

            ulong start = (ulong)i * MemoryChecksums.ChunkBytes;
            int bytes = (int)Math.Min(MemoryChecksums.ChunkBytes, length - start);
            Span<byte> before = buffer.AsSpan(0, bytes);
            saved.ReadChunk(i, before);

            // SAFETY: start + bytes is within the guest's memory, which is one mapping of that length and outlives this call.
            var now = new Span<byte>((byte*)ram.HostStart + start, bytes);
            for (int at = 0; at < bytes; at += PageSet.PageBytes)
            {
                Span<byte> page = now.Slice(at, PageSet.PageBytes);
                ReadOnlySpan<byte> old = before.Slice(at, PageSet.PageBytes);
                if ((pages & (1 << (at / PageSet.PageBytes))) != 0 && !page.SequenceEqual(old))
                {
                    old.CopyTo(page);
                    count++;
                }
            }
        }

        return count;
    }

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

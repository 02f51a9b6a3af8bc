using Microsoft.Win32.SafeHandles;
using Vmm.Host;
using Vmm.Machines;

namespace Vmm.Snapshots;

/// <summary>Reads guest memory from the sparse file that <see cref="MemoryCopy"/> wrote.</summary>
internal static class MemoryFile
{
    /// <summary>Reads a chunk of memory (<see cref="MemoryChecksums"/>).</summary>
    public delegate void ChunkReader(int index, Span<byte> chunk);

    private const ulong MostAtOnce = 16 << 20;

    /// <summary>Puts memory back as it was when it was saved.</summary>
    /// <param name="hasContent">Has a chunk of the file data?</param>
    /// <param name="read">Reads a chunk of it.</param>
    /// <inheritdoc cref="IRewindTarget.PutBack"/>
    public static unsafe ulong PutBack(GuestRam ram, PageSet? written, Predicate<int> hasContent, ChunkReader read)
    {
        ulong count = 0;
        bool[]? held = written is null ? HeldMemory.Find(ram) : null;
        byte[] buffer = new byte[MemoryChecksums.ChunkBytes];
        for (int i = 0; i < MemoryChecksums.Count(ram.Memory.Size); i++)
        {
            ushort pages = written?.Sixteen(i) ?? (held![i] || hasContent(i) ? ushort.MaxValue : (ushort)0);
            if (pages == 0)
            {
                continue;
            }

            (ulong start, int bytes) = MemoryChecksums.Place(i, ram.Memory.Size);
            Span<byte> before = buffer.AsSpan(0, bytes);
            read(i, before);

            // SAFETY: start + bytes is within the guest's memory, which is one mapping of that length and outlives this call.
            var now = new Span<byte>((byte*)ram.HostStart + start, bytes);
            foreach (Range run in ChunkPages.Runs((ushort)(pages & ChunkPages.Different(now, before)), bytes))
            {
                before[run].CopyTo(now[run]);
                count += (ulong)now[run].Length / PageSet.PageBytes;
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

            (ulong at, int bytes) = MemoryChecksums.Place(i, length);

            // SAFETY: a chunk of the memory.
            var chunk = new ReadOnlySpan<byte>((byte*)start + at, bytes);
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
                Fill(source, name, part, at);
                at += (ulong)part.Length;
            }
        }

        return read;
    }

    /// <summary>Reads as many bytes as there is room for.</summary>
    /// <inheritdoc cref="Read(FileDescriptor, string, nint, ulong, ReadOnlySpan{uint})"/>
    public static void Fill(SafeFileHandle file, string name, Span<byte> bytes, ulong at)
    {
        while (!bytes.IsEmpty)
        {
            int count = RandomAccess.Read(file, bytes, (long)at);
            if (count == 0)
            {
                throw new UsageException($"{name}: has become shorter while it was read");
            }

            bytes = bytes[count..];
            at += (ulong)count;
        }
    }
}

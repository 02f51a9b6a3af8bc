using Vmm.Host;
using Vmm.Machines;

namespace Vmm.Snapshots;

/// <summary>Guest memory in a sparse file: as long as the memory, with holes where pages are all zeros.</summary>
internal static class MemoryFile
{
    private const int PageBytes = 4096;
    private const ulong MostAtOnce = 16 << 20;

    /// <summary>Writes the memory of a quiesced machine.</summary>
    /// <param name="file">Empty.</param>
    /// <param name="written">Bytes that are not in holes.</param>
    /// <returns>A checksum for each chunk.</returns>
    /// <exception cref="IOException">The disk is full, for instance.</exception>
    public static unsafe uint[] Write(FileDescriptor file, GuestRam ram, out ulong written)
    {
        using var target = file.Borrow();
        ulong length = ram.Memory.Size;
        RandomAccess.SetLength(target, (long)length);
        bool[] held = HeldMemory.Find(ram);
        uint[] checksums = new uint[held.Length];
        var run = new Run(target, ram.HostStart);
        for (int i = 0; i < held.Length; i++)
        {
            ulong start = (ulong)i * MemoryChecksums.ChunkBytes;
            int bytes = (int)Math.Min(MemoryChecksums.ChunkBytes, length - start);

            // SAFETY: start + bytes is within the guest's memory, which is one mapping of that length and outlives this call.
            var chunk = new ReadOnlySpan<byte>((byte*)ram.HostStart + start, bytes);
            checksums[i] = held[i] ? MemoryChecksums.Of(chunk) : 0;
            for (int page = 0; checksums[i] != 0 && page < bytes; page += PageBytes)
            {
                if (!MemoryChecksums.IsZero(chunk.Slice(page, PageBytes)))
                {
                    run.Add(start + (ulong)page);
                }
            }
        }

        run.Write();
        written = run.Written;
        return checksums;
    }

    /// <summary>Reads all of it, and checks it.</summary>
    /// <param name="start">Zeroed memory of this process.</param>
    /// <param name="length">Bytes; as many as the file has.</param>
    /// <exception cref="UsageException">The file is damaged.</exception>
    /// <exception cref="IOException">The host cannot read it.</exception>
    public static unsafe void Read(FileDescriptor file, string name, nint start, ulong length, ReadOnlySpan<uint> checksums)
    {
        using var source = file.Borrow();
        bool[] read = new bool[checksums.Length];
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

        for (int i = 0; i < checksums.Length; i++)
        {
            if (!read[i] && checksums[i] == 0)
            {
                continue;       // nothing was read there, and to look would take memory
            }

            ulong at = (ulong)i * MemoryChecksums.ChunkBytes;

            // SAFETY: as above.
            var chunk = new ReadOnlySpan<byte>((byte*)start + at, (int)Math.Min(MemoryChecksums.ChunkBytes, length - at));
            if (MemoryChecksums.Of(chunk) != checksums[i])
            {
                throw new UsageException($"{name}: is damaged between its bytes {at} and {at + (ulong)chunk.Length}");
            }
        }
    }

    /// <summary>Adjacent pages, to be written in one call.</summary>
    private sealed unsafe class Run(Microsoft.Win32.SafeHandles.SafeFileHandle target, nint memory)
    {
        private ulong _start, _end;

        public ulong Written { get; private set; }

        public void Add(ulong page)
        {
            if (page != _end || _end - _start >= MostAtOnce)
            {
                Write();
                _start = page;
            }

            _end = page + PageBytes;
        }

        public void Write()
        {
            if (_end > _start)
            {
                // SAFETY: pages of the guest's memory.
                RandomAccess.Write(target, new ReadOnlySpan<byte>((byte*)memory + _start, (int)(_end - _start)), (long)_start);
                Written += _end - _start;
                _start = _end;
            }
        }
    }
}

using Microsoft.Win32.SafeHandles;
using Vmm.Host;
using Vmm.Machines;

namespace Vmm.Snapshots;

/// <summary>Copies guest memory to a sparse file: as long as the memory, with holes where pages are all zeros. In one pass while the
/// machine is quiesced, or in several while it runs, each of what was written to during the one before.</summary>
/// <remarks>A page that is written to while it is copied may be torn in the file, and its chunk's checksum wrong, until the pass
/// that copies it again.</remarks>
internal sealed unsafe class MemoryCopy : IDisposable
{
    private const ulong MostAtOnce = 16 << 20;

    private readonly FileDescriptor _file;
    private readonly SafeFileHandle _target;
    private readonly GuestRam _ram;
    private readonly ulong _length;
    private readonly PageSet _filled;       // not in holes of the file
    private ulong _runStart, _runEnd;       // adjacent pages, to be written in one call

    /// <param name="file">Empty; stays the caller's.</param>
    /// <param name="checksums">Of the memory as it was before the passes to come; null for none.</param>
    /// <exception cref="IOException">The file cannot be as long.</exception>
    public MemoryCopy(FileDescriptor file, GuestRam ram, uint[]? checksums = null)
    {
        (_file, _ram, _length) = (file, ram, ram.Memory.Size);
        _target = file.Borrow();
        _filled = new PageSet(_length);
        Pages = new PageSet(_length);
        Checksums = checksums ?? new uint[MemoryChecksums.Count(_length)];
        file.SetLength(_length);
    }

    /// <summary>A checksum for each chunk.</summary>
    public uint[] Checksums { get; }

    /// <summary>All that were copied, zeros too.</summary>
    public PageSet Pages { get; }

    /// <summary>Bytes of the file that are not in holes.</summary>
    public ulong Written => _filled.Count * PageSet.PageBytes;

    /// <summary>Copies all. First, and once.</summary>
    /// <exception cref="IOException">The disk is full, for instance.</exception>
    public void CopyAll()
    {
        bool[] held = HeldMemory.Find(_ram);
        for (int chunk = 0; chunk < held.Length; chunk++)
        {
            if (held[chunk])
            {
                CopyChunk(chunk, ushort.MaxValue);
            }
        }

        WriteRun();
    }

    /// <summary>Copies some pages.</summary>
    /// <inheritdoc cref="CopyAll"/>
    public void Copy(PageSet pages)
    {
        for (int chunk = 0; chunk < Checksums.Length; chunk++)
        {
            if (pages.Sixteen(chunk) is not 0 and ushort some)
            {
                CopyChunk(chunk, some);
            }
        }

        WriteRun();
    }

    /// <summary>Copies the pages that differ from those of a snapshot. First, and once.</summary>
    /// <param name="from">Whole, with memory of the same size.</param>
    /// <inheritdoc cref="CopyAll"/>
    /// <exception cref="UsageException">It is damaged.</exception>
    public void CopyDifferent(Snapshot from)
    {
        bool[] held = HeldMemory.Find(_ram);
        byte[] buffer = new byte[MemoryChecksums.ChunkBytes];
        for (int chunk = 0; chunk < held.Length; chunk++)
        {
            if (held[chunk] || from.Checksums[chunk] != 0)
            {
                Span<byte> before = buffer.AsSpan(0, Chunk(chunk).Length);
                from.ReadChunk(chunk, before);
                if (ChunkPages.Different(Chunk(chunk), before) is not 0 and ushort pages)
                {
                    CopyChunk(chunk, pages);
                }
            }
        }

        WriteRun();
    }

    /// <summary>The file stays open.</summary>
    public void Dispose() => _target.Dispose();

    private ReadOnlySpan<byte> Chunk(int index)
    {
        (ulong start, int length) = MemoryChecksums.Place(index, _length);

        // SAFETY: within the guest's memory, which is one mapping of that length and outlives this object.
        return new((byte*)_ram.HostStart + start, length);
    }

    /// <param name="pages">Bit n: the chunk's page n.</param>
    private void CopyChunk(int index, ushort pages)
    {
        ReadOnlySpan<byte> chunk = Chunk(index);
        Checksums[index] = MemoryChecksums.Of(chunk);
        for (int page = 0; page * PageSet.PageBytes < chunk.Length; page++)
        {
            if ((pages & (1 << page)) == 0)
            {
                continue;
            }

            ulong number = ((ulong)index * ChunkPages.Count) + (ulong)page;
            Pages.Add(number);
            if (Checksums[index] != 0 && !MemoryChecksums.IsZero(chunk.Slice(page * PageSet.PageBytes, PageSet.PageBytes)))
            {
                _filled.Add(number);
                AddToRun(number * PageSet.PageBytes);
            }
            else if (_filled.Contains(number))
            {
                _filled.Remove(number);
                WriteRun();
                Punch(number * PageSet.PageBytes);
            }
        }
    }

    private void AddToRun(ulong page)
    {
        if (page != _runEnd || _runEnd - _runStart >= MostAtOnce)
        {
            WriteRun();
            _runStart = page;
        }

        _runEnd = page + PageSet.PageBytes;
    }

    private void WriteRun()
    {
        if (_runEnd > _runStart)
        {
            // SAFETY: pages of the guest's memory.
            RandomAccess.Write(
                _target, new ReadOnlySpan<byte>((byte*)_ram.HostStart + _runStart, (int)(_runEnd - _runStart)), (long)_runStart);
        }

        _runStart = _runEnd;
    }

    /// <summary>An earlier pass found something there.</summary>
    private void Punch(ulong at)
    {
        if (LibC.fallocate(_file.Number, LibC.FALLOC_FL_PUNCH_HOLE | LibC.FALLOC_FL_KEEP_SIZE, (long)at, PageSet.PageBytes) != 0)
        {
            RandomAccess.Write(_target, new byte[PageSet.PageBytes], (long)at);     // this file system has no holes
        }
    }
}

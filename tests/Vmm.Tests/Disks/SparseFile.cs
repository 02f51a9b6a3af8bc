using Vmm.Devices.Virtio;
using Vmm.Host;

namespace Vmm.Tests.Disks;

/// <summary>A file of any length in memory, of which only what was written takes room, and which counts what is read of
/// one part of it: at once, on the caller's thread, and beside it.</summary>
internal sealed unsafe class SparseFile : BlockFile
{
    private const int PageBytes = 65536;

    private readonly Dictionary<ulong, byte[]> _pages = [];
    private readonly List<FileIo> _started = [];
    private ulong _length;
    private ulong _watchFrom;
    private ulong _watchTo;

    /// <summary>Bytes of the watched part that were read while the caller waited.</summary>
    public ulong ReadAtOnce { get; private set; }

    /// <summary>And how many reads that were.</summary>
    public int ReadsAtOnce { get; private set; }

    /// <summary>Bytes of the watched part that were read beside the caller.</summary>
    public ulong ReadBeside { get; private set; }

    public override string Path => "sparse";

    public override ulong Length => _length;

    public override bool IsReadOnly => false;

    /// <summary>Counts from zero on.</summary>
    public void Watch(ulong offset, ulong length)
    {
        (_watchFrom, _watchTo) = (offset, offset + length);
        (ReadAtOnce, ReadsAtOnce, ReadBeside) = (0, 0, 0);
    }

    public override void AddOwner(IFileIoOwner owner)
    {
    }

    public override void Start(FileIo io) => _started.Add(io);

    public override void Submit()
    {
        while (_started.Count > 0)
        {
            FileIo io = _started[0];
            _started.RemoveAt(0);
            long moved = 0;
            (nint vectors, int count) = io.Current;
            for (int i = 0; i < count; i++)
            {
                IoVector vector = ((IoVector*)vectors)[i];
                var bytes = new Span<byte>((void*)vector.Base, (int)vector.Length);
                if (io.Operation == FileOperation.Read)
                {
                    ReadBeside += IsWatched(io.Offset) ? (ulong)bytes.Length : 0;
                    Copy(io.Offset + (ulong)moved, bytes);
                }
                else
                {
                    TryWrite(io.Offset + (ulong)moved, bytes);
                }

                moved += bytes.Length;
            }

            io.Advance(moved);
            io.Owner.Finished(io);
        }
    }

    public override void Drain() => Submit();

    public override bool TryRead(ulong offset, Span<byte> data)
    {
        if (IsWatched(offset))
        {
            ReadAtOnce += (ulong)data.Length;
            ReadsAtOnce++;
        }

        Copy(offset, data);
        return true;
    }

    public override bool TryWrite(ulong offset, ReadOnlySpan<byte> data)
    {
        while (data.Length > 0)
        {
            int at = (int)(offset % PageBytes);
            int part = Math.Min(data.Length, PageBytes - at);
            if (!_pages.TryGetValue(offset / PageBytes, out byte[]? page))
            {
                _pages.Add(offset / PageBytes, page = new byte[PageBytes]);
            }

            data[..part].CopyTo(page.AsSpan(at));
            data = data[part..];
            offset += (ulong)part;
            _length = Math.Max(_length, offset);
        }

        return true;
    }

    public override bool TryFlush() => true;

    public override bool TrySetLength(ulong length)
    {
        _length = length;
        return true;
    }

    public override void Dispose()
    {
    }

    private bool IsWatched(ulong offset) => offset >= _watchFrom && offset < _watchTo;

    private void Copy(ulong offset, Span<byte> data)
    {
        while (data.Length > 0)
        {
            int at = (int)(offset % PageBytes);
            int part = Math.Min(data.Length, PageBytes - at);
            if (_pages.TryGetValue(offset / PageBytes, out byte[]? page))
            {
                page.AsSpan(at, part).CopyTo(data);
            }
            else
            {
                data[..part].Clear();
            }

            data = data[part..];
            offset += (ulong)part;
        }
    }
}

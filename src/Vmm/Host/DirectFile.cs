namespace Vmm.Host;

/// <summary>A file opened with O_DIRECT beside its ordinary descriptor (<c>cache=none</c>).</summary>
/// <remarks>
/// Operations whose offset, length or memory O_DIRECT cannot do go through the page cache instead, one at a time and
/// with nothing else under way on this file: only then are the two ways coherent, because a page that is filled while
/// a direct write to its other half is under way would later write the old half back. Those that come meanwhile wait
/// in their order. Guests that respect the block size never get there.
/// </remarks>
internal sealed class DirectFile : HostFile
{
    private readonly FileDescriptor _direct;
    private readonly int _buffered;
    private readonly Queue<FileIo> _waiting = new();
    private int _underWay;
    private bool _passing;

    public DirectFile(string path, FileDescriptor buffered, FileDescriptor direct, bool readOnly, FileEngine engine)
        : base(path, buffered, direct, readOnly, engine)
    {
        _direct = direct;
        _buffered = buffered.Number;
        LibC.Statx status = Status(direct, path);
        bool known = (status.Mask & LibC.STATX_DIOALIGN) != 0 && status.DioOffsetAlign != 0;
        OffsetAlign = known ? status.DioOffsetAlign : 4096;     // before Linux 6.1: what every medium can
        MemoryAlign = known ? Math.Max(status.DioMemoryAlign, 1) : 4096;
    }

    /// <summary>Bytes that offsets and lengths are multiples of.</summary>
    public uint OffsetAlign { get; }

    /// <summary>Bytes that addresses are multiples of.</summary>
    public uint MemoryAlign { get; }

    public override void Start(FileIo io)
    {
        if (_waiting.Count > 0 || !IsAligned(io))
        {
            _waiting.Enqueue(io);
        }
        else
        {
            _underWay++;
            base.Start(io);
        }
    }

    public override void Submit()
    {
        PassWaiting();
        base.Submit();
    }

    public override void Drain()
    {
        do
        {
            PassWaiting();
            base.Drain();
        }
        while (_waiting.Count > 0);
    }

    public override void Finished(FileIo io)
    {
        _underWay--;
        base.Finished(io);
        PassWaiting();
    }

    public override void Dispose()
    {
        base.Dispose();
        _direct.Dispose();
    }

    private bool IsAligned(FileIo io)
    {
        if (io.Operation is FileOperation.Sync or FileOperation.Allocate)
        {
            return true;
        }

        (nint vectors, int count) = io.Current;
        return io.Offset % OffsetAlign == 0 && IoVectors.AreAligned(vectors, count, MemoryAlign, OffsetAlign);
    }

    private void PassWaiting()
    {
        if (_passing)
        {
            return;     // the loop below goes on with it
        }

        _passing = true;
        while (_waiting.TryPeek(out FileIo? io))
        {
            if (IsAligned(io))
            {
                _waiting.Dequeue();
                _underWay++;
                base.Start(io);
            }
            else if (_underWay == 0)
            {
                _waiting.Dequeue();
                io.File = this;
                while (!io.Advance(Call(io, _buffered)))
                {
                    // the rest of a short transfer
                }

                base.Finished(io);
            }
            else
            {
                break;
            }
        }

        _passing = false;
    }
}

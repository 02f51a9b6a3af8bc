namespace Vmm.Host;

/// <summary>A file opened with O_DIRECT beside its ordinary descriptor (<c>cache=none</c>).</summary>
/// <remarks>
/// Operations whose offset, length or memory O_DIRECT cannot do go through a <see cref="BounceBuffer"/>. One that writes less
/// than whole blocks reads them first, so until it is finished no other operation may change them: such operations wait, and
/// later ones behind them, in order; operations in flight continue.
///
/// The last block of a file whose length is no multiple of a block cannot be written so, as the file would grow. Such a write
/// goes through the page cache, with no other operation in flight on the file: only then are the two ways coherent, because a
/// page that is read while a direct write to its other half is in flight would later write the old half back.
/// </remarks>
internal sealed class DirectFile : HostFile
{
    private const int MostBuffers = 16;

    private readonly FileDescriptor _direct;
    private readonly int _buffered;
    private readonly Queue<FileIo> _waiting = new();
    private readonly List<FileIo> _changes = [];        // begun, and what they change
    private readonly List<BounceBuffer> _buffers = [];
    private readonly Stack<BounceBuffer> _free = new();
    private int _underWay;
    private bool _passing;

    /// <param name="align">Bytes that requests must be multiples of; 0 asks the kernel.</param>
    public DirectFile(
        string path, FileDescriptor buffered, FileDescriptor direct, bool readOnly, FileEngine engine, uint align = 0)
        : base(path, buffered, direct, readOnly, engine)
    {
        _direct = direct;
        _buffered = buffered.Number;
        Statx status = Status(direct, path);
        bool known = (status.Mask & LibC.STATX_DIOALIGN) != 0 && status.DioOffsetAlign != 0;
        OffsetAlign = align != 0 ? align
            : known ? status.DioOffsetAlign
            : 4096;     // before Linux 6.1: what every medium can
        MemoryAlign = known && align == 0 ? Math.Max(status.DioMemoryAlign, 1) : 4096;
    }

    /// <summary>Bytes that offsets and lengths are multiples of; a power of two.</summary>
    public uint OffsetAlign { get; }

    /// <summary>Bytes that addresses are multiples of.</summary>
    public uint MemoryAlign { get; }

    public ulong AlignDown(ulong offset) => offset & ~(ulong)(OffsetAlign - 1);

    public ulong AlignUp(ulong offset) => AlignDown(offset + OffsetAlign - 1);

    public override void Start(FileIo io)
    {
        if (_waiting.Count > 0 || !TryBegin(io))
        {
            _waiting.Enqueue(io);
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
        if (io.Owner is not BounceBuffer && IsChange(io))
        {
            _changes.Remove(io);
        }

        base.Finished(io);
        PassWaiting();
    }

    /// <summary>For a <see cref="BounceBuffer"/>: an operation of its own.</summary>
    public void StartAligned(FileIo io)
    {
        _underWay++;
        base.Start(io);
    }

    /// <summary>The operation that used a buffer is finished.</summary>
    public void Bounced(BounceBuffer buffer, FileIo io)
    {
        _free.Push(buffer);
        io.Owner.Finished(io);
    }

    public override void Dispose()
    {
        base.Dispose();
        _direct.Dispose();
        _buffers.ForEach(static buffer => buffer.Dispose());
    }

    private static bool IsChange(FileIo io) => io.Operation is FileOperation.Write or FileOperation.Allocate;

    private static bool Overlaps(FileIo io, ulong start, ulong end) => io.Offset < end && start < io.Offset + io.Left;

    private bool IsAligned(FileIo io)
    {
        if (io.Operation is FileOperation.Sync or FileOperation.Allocate)
        {
            return true;
        }

        (nint vectors, int count) = io.Current;
        return io.Offset % OffsetAlign == 0 && IoVectors.AreAligned(vectors, count, MemoryAlign, OffsetAlign);
    }

    /// <summary>Is part of it in a last block that the file has not all of?</summary>
    private bool ReachesPastEnd(FileIo io) => AlignUp(io.Offset + io.Left) > Length;

    private bool TryBegin(FileIo io)
    {
        if (!IsAligned(io))
        {
            return !ReachesPastEnd(io) && TryBounce(io);
        }

        if (IsChange(io))
        {
            foreach (BounceBuffer buffer in _buffers)
            {
                if (buffer.Changes(io.Offset, io.Offset + io.Left))
                {
                    return false;
                }
            }

            _changes.Add(io);
        }

        StartAligned(io);
        return true;
    }

    private bool TryBounce(FileIo io)
    {
        if (io.Operation == FileOperation.Write && IsChanging(AlignDown(io.Offset), AlignUp(io.Offset + io.Left)))
        {
            return false;
        }

        if (!_free.TryPop(out BounceBuffer? free))
        {
            if (_buffers.Count == MostBuffers)
            {
                return false;
            }

            _buffers.Add(free = new BounceBuffer(this));
        }

        io.File = this;
        free.Begin(io);
        return true;
    }

    private bool IsChanging(ulong start, ulong end)
    {
        foreach (FileIo change in _changes)
        {
            if (Overlaps(change, start, end))
            {
                return true;
            }
        }

        foreach (BounceBuffer buffer in _buffers)
        {
            if (buffer.Changes(start, end))
            {
                return true;
            }
        }

        return false;
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
            if (TryBegin(io))
            {
                _waiting.Dequeue();
            }
            else if (_underWay == 0 && ReachesPastEnd(io))
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

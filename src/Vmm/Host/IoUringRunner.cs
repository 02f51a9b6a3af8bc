using Tmds.Linux;

namespace Vmm.Host;

/// <summary>File operations through an <see cref="IoUring"/>; never more in flight than the ring has entries, so that
/// the completion ring cannot overflow.</summary>
internal sealed unsafe class IoUringRunner : IFileRunner
{
    private const int RingEntries = 128;
    private const int FixedFiles = 32;
    private const int NoSlot = -1;

    private readonly IoUring _ring;
    private readonly bool _hasFixedFiles;
    private readonly HostFile?[] _files = new HostFile?[FixedFiles];
    private readonly FileIo?[] _underWay;
    private readonly int[] _free;
    private int _freeCount;
    private FileIo? _refused;
    private int _refusedErrno;

    private IoUringRunner(IoUring ring)
    {
        _ring = ring;
        _hasFixedFiles = ring.TryRegisterFiles(FixedFiles);
        _underWay = new FileIo?[ring.Entries];
        _free = new int[ring.Entries];
        _freeCount = _free.Length;
        for (int i = 0; i < _free.Length; i++)
        {
            _free[i] = i;
        }
    }

    public static IoUringRunner? TryCreate(EventFd finished, out int errno)
    {
        IoUring? ring = IoUring.TryCreate(RingEntries, out errno);
        if (ring is null)
        {
            return null;
        }

        ring.RegisterEventFd(finished);
        return new IoUringRunner(ring);
    }

    public void AddFile(HostFile file)
    {
        int slot = Array.IndexOf(_files, null);
        if (_hasFixedFiles && slot >= 0 && _ring.TryUpdateFile(slot, file.Number))
        {
            _files[slot] = file;
            file.RingSlot = slot;
        }
    }

    public void RemoveFile(HostFile file)
    {
        if (file.RingSlot != NoSlot)
        {
            _ring.TryUpdateFile(file.RingSlot, -1);
            _files[file.RingSlot] = null;
            file.RingSlot = NoSlot;
        }
    }

    public void Mute() => _ring.Mute();

    public bool Unmute() => _ring.Unmute() || _refused is not null;

    public bool TryBegin(FileIo io)
    {
        if (_freeCount == 0)
        {
            return false;
        }

        io_uring_sqe* entry = _ring.TryNext();
        if (entry is null)
        {
            return false;
        }

        int slot = _free[--_freeCount];
        _underWay[slot] = io;

        // SAFETY: an entry of the ring that is ours until Enter.
        Fill(entry, io);
        entry->user_data = (ulong)slot;
        return true;
    }

    public void Kick()
    {
        while (_ring.Unsubmitted > 0)
        {
            int errno = _ring.Enter();
            if (errno is 0 or ErrnoException.EINTR)
            {
                continue;
            }

            if (errno is ErrnoException.EAGAIN or ErrnoException.EBUSY && _ring.Unsubmitted < _ring.Entries - _freeCount)
            {
                return;     // out of resources until something that is under way ends; Reap's caller comes again
            }

            TakeBack(errno);
        }
    }

    public FileIo? TryReap(out long result)
    {
        if (_refused is { } refused)
        {
            _refused = refused.Next;
            refused.Next = null;
            result = -_refusedErrno;
            return refused;
        }

        if (!_ring.TryReap(out ulong userData, out int number))
        {
            result = 0;
            return null;
        }

        result = number;
        return Release((int)userData);
    }

    public void Wait()
    {
        if (_refused is null)
        {
            _ = _ring.Enter(waitFor: 1);
        }
    }

    public void Dispose() => _ring.Dispose();

    private static void Fill(io_uring_sqe* entry, FileIo io)
    {
        HostFile file = io.File!;
        (entry->fd, entry->flags) = file.RingSlot != NoSlot
            ? (file.RingSlot, LibC.IOSQE_FIXED_FILE)
            : (file.Number, (byte)0);
        if (io.Retries > 0)
        {
            entry->flags |= LibC.IOSQE_ASYNC;   // it could not be done at once: a worker may block
        }

        switch (io.Operation)
        {
            case FileOperation.Sync:
                entry->opcode = LibC.IORING_OP_FSYNC;
                entry->fsync_flags = LibC.IORING_FSYNC_DATASYNC;
                break;
            case FileOperation.Allocate:
                entry->opcode = LibC.IORING_OP_FALLOCATE;
                entry->off = io.Offset;
                entry->addr = io.Left;       // the length, by a quirk of the interface
                entry->len = (uint)io.Flags; // the mode
                break;
            default:
                bool isWrite = io.Operation == FileOperation.Write;
                (nint vectors, int count) = io.Current;
                entry->opcode = isWrite ? LibC.IORING_OP_WRITEV : LibC.IORING_OP_READV;
                entry->off = io.Offset;
                entry->addr = (ulong)vectors;
                entry->len = (uint)count;
                entry->rw_flags = io.Flags;

                // One vector alone: the kernel need not copy it in.
                iovec first = *(iovec*)vectors;
                if (count == 1 && first.iov_len <= int.MaxValue)
                {
                    entry->opcode = isWrite ? LibC.IORING_OP_WRITE : LibC.IORING_OP_READ;
                    entry->addr = (ulong)first.iov_base;
                    entry->len = (uint)first.iov_len;
                }

                break;
        }
    }

    private FileIo Release(int slot)
    {
        FileIo io = _underWay[slot]!;
        _underWay[slot] = null;
        _free[_freeCount++] = slot;
        return io;
    }

    /// <summary>The kernel refuses new entries: the operations that it did not take fail.</summary>
    private void TakeBack(int errno)
    {
        _refusedErrno = errno;
        while (_ring.TryTakeBack(out ulong userData))
        {
            FileIo io = Release((int)userData);
            io.Next = _refused;
            _refused = io;
        }
    }
}

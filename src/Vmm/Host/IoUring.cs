using System.Runtime.InteropServices;
using Tmds.Linux;

namespace Vmm.Host;

/// <summary>An io_uring (io_uring(7)): a queue of file operations shared with the kernel, one system call for many.</summary>
/// <remarks>
/// One thread at a time. Barriers: the kernel reads submission entries only within io_uring_enter, which is a full
/// barrier by itself, so the submission tail needs no more than a plain store before the call; it is written with
/// release anyway, which costs nothing on x86 and holds elsewhere. Completion entries are written by the kernel at any
/// time: the tail is read with acquire before the entries behind it, and the head is written with release after they
/// were copied, so that the kernel cannot overwrite one that is still being read. There is no polling thread
/// (SQPOLL), so no wake-up flag and no full fence.
/// </remarks>
internal sealed unsafe class IoUring : IDisposable
{
    private readonly FileDescriptor _fd;
    private readonly byte* _rings;
    private readonly nuint _ringsLength;
    private readonly io_uring_sqe* _sqes;
    private readonly nuint _sqesLength;
    private readonly uint* _sqHead;
    private readonly uint* _sqTail;
    private readonly uint _sqMask;
    private readonly uint* _cqHead;
    private readonly uint* _cqTail;
    private readonly uint _cqMask;
    private readonly io_uring_cqe* _cqes;
    private readonly uint* _cqFlags;    // null before Linux 5.8
    private uint _tail;         // submission tail as this side sees it; published by Enter
    private bool _disposed;

    private IoUring(int fd, in io_uring_params parameters)
    {
        _fd = new FileDescriptor(fd);
        Entries = parameters.sq_entries;
        _ringsLength = Math.Max(
            parameters.sq_off.array + (parameters.sq_entries * sizeof(uint)),
            parameters.cq_off.cqes + (parameters.cq_entries * (uint)sizeof(io_uring_cqe)));
        _sqesLength = parameters.sq_entries * (uint)sizeof(io_uring_sqe);
        _rings = Map(fd, _ringsLength, LibC.IORING_OFF_SQ_RING);
        _sqes = (io_uring_sqe*)Map(fd, _sqesLength, LibC.IORING_OFF_SQES);

        // SAFETY: the offsets come from the kernel and lie in what was just mapped, as io_uring_setup(2) promises.
        _sqHead = (uint*)(_rings + parameters.sq_off.head);
        _sqTail = (uint*)(_rings + parameters.sq_off.tail);
        _sqMask = *(uint*)(_rings + parameters.sq_off.ring_mask);
        _cqHead = (uint*)(_rings + parameters.cq_off.head);
        _cqTail = (uint*)(_rings + parameters.cq_off.tail);
        _cqMask = *(uint*)(_rings + parameters.cq_off.ring_mask);
        _cqes = (io_uring_cqe*)(_rings + parameters.cq_off.cqes);

        // Where the flags of the completion ring are. Tmds.LibC has that as the first reserved word (Linux 5.8).
        uint flags = (uint)parameters.cq_off.resv[0];
        _cqFlags = flags != 0 ? (uint*)(_rings + flags) : null;
        _tail = *_sqTail;

        // The indirection array stays the identity for ever.
        uint* array = (uint*)(_rings + parameters.sq_off.array);
        for (uint i = 0; i < Entries; i++)
        {
            array[i] = i;
        }
    }

    /// <summary>Entries of the submission ring; the completion ring has twice as many.</summary>
    public uint Entries { get; }

    /// <summary>Entries prepared but not taken by the kernel yet.</summary>
    // SAFETY: a mapped word of the ring, see the constructor.
    public uint Unsubmitted => _tail - Volatile.Read(ref *_sqHead);

    /// <param name="entries">A power of two.</param>
    /// <param name="errno">Why not: ENOSYS, EPERM where it is forbidden.</param>
    public static IoUring? TryCreate(uint entries, out int errno)
    {
        // COOP_TASKRUN (Linux 5.19) saves interrupts: the loop's thread enters the kernel often enough by itself.
        foreach (uint flags in (ReadOnlySpan<uint>)[LibC.IORING_SETUP_COOP_TASKRUN, 0])
        {
            var parameters = new io_uring_params { flags = flags };
            int fd = LibC.io_uring_setup(entries, &parameters);
            if (fd < 0)
            {
                errno = Marshal.GetLastPInvokeError();
                if (errno == ErrnoException.EINVAL && flags != 0)
                {
                    continue;
                }

                return null;
            }

            if ((parameters.features & LibC.IORING_FEAT_SINGLE_MMAP) == 0)
            {
                _ = LibC.close(fd);     // before Linux 5.4: treated as not available
                break;
            }

            errno = 0;
            return new IoUring(fd, parameters);
        }

        errno = ErrnoException.ENOSYS;
        return null;
    }

    /// <summary>Completions signal this eventfd.</summary>
    public void RegisterEventFd(EventFd eventFd)
    {
        int number = eventFd.Number;
        ErrnoException.Check(
            LibC.io_uring_register(_fd.Number, LibC.IORING_REGISTER_EVENTFD, &number, 1), "IORING_REGISTER_EVENTFD");
    }

    /// <summary>Completions do not signal the eventfd from now on: the caller polls for them.</summary>
    public void Mute()
    {
        if (_cqFlags != null)
        {
            // Only a hint: a signal that comes all the same wakes the loop once for nothing.
            // SAFETY: a mapped word of the ring that only this side writes.
            Volatile.Write(ref *_cqFlags, LibC.IORING_CQ_EVENTFD_DISABLED);
        }
    }

    /// <summary>Completions signal the eventfd again.</summary>
    /// <returns>Did one come meanwhile, possibly without a signal? Then reap once more.</returns>
    public bool Unmute()
    {
        if (_cqFlags != null)
        {
            // Full fence: the kernel must see the flag before this side reads the tail. Were the load to go first, a completion
            // could come in between, with the old flag still set, and would not be signalled.
            // SAFETY: as in Mute.
            Volatile.Write(ref *_cqFlags, 0);
            Interlocked.MemoryBarrier();
        }

        // SAFETY: mapped words of the ring.
        return *_cqHead != Volatile.Read(ref *_cqTail);
    }

    /// <summary>Makes a table of files that the kernel need not look up per operation, all free at first.</summary>
    public bool TryRegisterFiles(int count)
    {
        int* none = stackalloc int[count];
        new Span<int>(none, count).Fill(-1);
        return LibC.io_uring_register(_fd.Number, LibC.IORING_REGISTER_FILES, none, (uint)count) >= 0;
    }

    /// <summary>Sets an entry of the table; -1 frees it.</summary>
    public bool TryUpdateFile(int index, int fd)
    {
        var update = new io_uring_files_update { offset = (uint)index, fds = (ulong)&fd };
        return LibC.io_uring_register(_fd.Number, LibC.IORING_REGISTER_FILES_UPDATE, &update, 1) == 1;
    }

    /// <summary>The next submission entry, zeroed, to be filled before <see cref="Enter"/>; null when all are used.</summary>
    public io_uring_sqe* TryNext()
    {
        if (Unsubmitted >= Entries)
        {
            return null;
        }

        // SAFETY: masked, so within the mapped array; the kernel is done with this entry (head is past it).
        io_uring_sqe* entry = _sqes + (_tail & _sqMask);
        *entry = default;
        _tail++;
        return entry;
    }

    /// <summary>Hands the prepared entries to the kernel.</summary>
    /// <param name="waitFor">Waits for so many completions; 0 does not wait.</param>
    /// <returns>0, or the error number.</returns>
    public int Enter(uint waitFor = 0)
    {
        Volatile.Write(ref *_sqTail, _tail);
        uint flags = waitFor != 0 ? LibC.IORING_ENTER_GETEVENTS : 0;
        int result = LibC.io_uring_enter(_fd.Number, Unsubmitted, waitFor, flags, null);
        return result >= 0 ? 0 : Marshal.GetLastPInvokeError();
    }

    /// <summary>Takes back the oldest entry that the kernel refused to take; only after a failed Enter.</summary>
    public bool TryTakeBack(out ulong userData)
    {
        if (Unsubmitted == 0)
        {
            userData = 0;
            return false;
        }

        // Taken from the end, so that the kernel's head stays true.
        _tail--;
        userData = _sqes[_tail & _sqMask].user_data;
        Volatile.Write(ref *_sqTail, _tail);
        return true;
    }

    /// <summary>Takes one completion.</summary>
    public bool TryReap(out ulong userData, out int result)
    {
        uint head = *_cqHead;       // only this side writes it
        if (head == Volatile.Read(ref *_cqTail))
        {
            userData = 0;
            result = 0;
            return false;
        }

        // SAFETY: masked, so within the mapped array.
        io_uring_cqe* entry = _cqes + (head & _cqMask);
        userData = entry->user_data;
        result = entry->res;
        Volatile.Write(ref *_cqHead, head + 1);
        return true;
    }

    public void Dispose()
    {
        if (!_disposed)
        {
            _disposed = true;
            _ = LibC.munmap(_rings, (size_t)_ringsLength);
            _ = LibC.munmap(_sqes, (size_t)_sqesLength);
            _fd.Dispose();
        }
    }

    private static byte* Map(int fd, nuint length, ulong offset)
    {
        void* start = LibC.mmap(
            null, (size_t)length, LibC.PROT_READ | LibC.PROT_WRITE, LibC.MAP_SHARED, fd, (long)offset);
        return start != LibC.MAP_FAILED
            ? (byte*)start
            : throw new ErrnoException("mmap of io_uring", Marshal.GetLastPInvokeError());
    }
}

using System.Runtime.InteropServices;
using Tmds.Linux;
using Vmm.Boot;

namespace Vmm.Host;

/// <summary>A file or block device of the host, opened for disk work.</summary>
internal class HostFile : BlockFile
{
    private readonly FileDescriptor _fd;
    private readonly FileDescriptor _data;
    private ulong _length;

    /// <param name="fd">Open; owned from now on.</param>
    public HostFile(string path, FileDescriptor fd, bool readOnly, FileEngine engine)
        : this(path, fd, fd, readOnly, engine)
    {
    }

    /// <param name="data">The descriptor for operations, if it is another one.</param>
    protected HostFile(string path, FileDescriptor fd, FileDescriptor data, bool readOnly, FileEngine engine)
    {
        Path = path;
        _fd = fd;
        _data = data;
        Engine = engine;
        IsReadOnly = readOnly;
        (_length, AllocationUnit) = FindLength(fd, path);
        engine.AddFile(this);
    }

    public override string Path { get; }

    public override bool IsReadOnly { get; }

    public override ulong Length => _length;

    public override uint AllocationUnit { get; }

    /// <summary>The descriptor that operations go to.</summary>
    public int Number => _data.Number;

    /// <summary>Its place in the io_uring's table of files; -1 for none.</summary>
    public int RingSlot { get; set; } = -1;

    protected FileEngine Engine { get; }

    public override void AddOwner(IFileIoOwner owner) => Engine.AddOwner(owner);

    public override void RemoveOwner(IFileIoOwner owner) => Engine.RemoveOwner(owner);

    public override void Start(FileIo io)
    {
        io.File = this;
        Engine.Start(io);
    }

    public override void Submit() => Engine.Submit();

    public override void Drain() => Engine.Drain();

    /// <summary>A duplicate of the descriptor, which outlives this.</summary>
    public FileDescriptor Duplicate() => FileDescriptor.Duplicate(_fd.Number, name: Path);

    /// <summary>The engine has finished the operation.</summary>
    public virtual void Finished(FileIo io)
    {
        if (io.Errno != 0)
        {
            Engine.Errors.Report(Path, io.Operation, io.Errno);
        }

        if (io.Operation == FileOperation.Write && io.Errno == 0)
        {
            _length = Math.Max(_length, io.Offset);     // Offset has moved to the end of what was written
            DurableWrites += (io.Flags & LibC.RWF_DSYNC) != 0 ? 1 : 0;
        }
        else if (io.Operation == FileOperation.Sync && io.Errno == 0)
        {
            Syncs++;
        }

        io.Owner.Finished(io);
    }

    /// <summary>Makes the operation's system call on this thread.</summary>
    /// <returns>Bytes, or an error number below zero.</returns>
    public static unsafe long Call(FileIo io, int fd)
    {
        (nint vectors, int count) = io.Current;
        long result = io.Operation switch
        {
            // SAFETY: the vectors are in place until the operation is finished, and it is not.
            FileOperation.Read => LibC.preadv(fd, (iovec*)vectors, count, (long)io.Offset),
            FileOperation.Write => LibC.pwritev2(fd, (iovec*)vectors, count, (long)io.Offset, io.Flags),
            FileOperation.Sync => LibC.fdatasync(fd),
            _ => LibC.fallocate(fd, io.Flags, (long)io.Offset, (long)io.Left),
        };
        return result >= 0 ? result : -Marshal.GetLastPInvokeError();
    }

    public override unsafe bool TryRead(ulong offset, Span<byte> data)
    {
        while (data.Length > 0)
        {
            long count;
            fixed (byte* start = data)
            {
                // SAFETY: as many bytes as the span has.
                count = LibC.pread(_fd.Number, start, data.Length, (long)offset);
            }

            if (count == 0)
            {
                data.Clear();
                return true;
            }

            if (count < 0)
            {
                int errno = Marshal.GetLastPInvokeError();
                if (errno == ErrnoException.EINTR)
                {
                    continue;
                }

                Engine.Errors.Report(Path, FileOperation.Read, errno);
                return false;
            }

            data = data[(int)count..];
            offset += (ulong)count;
        }

        return true;
    }

    public override unsafe bool TryWrite(ulong offset, ReadOnlySpan<byte> data)
    {
        while (data.Length > 0)
        {
            long count;
            fixed (byte* start = data)
            {
                // SAFETY: as many bytes as the span has.
                count = LibC.pwrite(_fd.Number, start, data.Length, (long)offset);
            }

            if (count <= 0)
            {
                int errno = count < 0 ? Marshal.GetLastPInvokeError() : ErrnoException.EIO;
                if (errno == ErrnoException.EINTR)
                {
                    continue;
                }

                Engine.Errors.Report(Path, FileOperation.Write, errno);
                return false;
            }

            data = data[(int)count..];
            offset += (ulong)count;
        }

        _length = Math.Max(_length, offset);
        return true;
    }

    public override bool TryFlush()
    {
        while (!IgnoresFlush && LibC.fdatasync(_fd.Number) != 0)
        {
            int errno = Marshal.GetLastPInvokeError();
            if (errno != ErrnoException.EINTR)
            {
                Engine.Errors.Report(Path, FileOperation.Sync, errno);
                return false;
            }
        }

        Syncs += IgnoresFlush ? 0 : 1;
        return true;
    }

    public override bool TrySetLength(ulong length)
    {
        if (LibC.ftruncate(_fd.Number, (long)length) != 0)
        {
            Engine.Errors.Report(Path, FileOperation.Write, Marshal.GetLastPInvokeError());
            return false;
        }

        _length = length;
        return true;
    }

    public override string? Grow(ulong length)
    {
        if ((Status(_fd, Path).Mode & LibC.S_IFMT) != LibC.S_IFBLK)
        {
            return LibC.ftruncate(_fd.Number, (long)length) != 0
                ? ErrnoException.Describe(Marshal.GetLastPInvokeError())
                : base.Grow(length);
        }

        ulong found = FindLength(_fd, Path).Length;
        if (found < length)
        {
            return $"the device has {found} bytes; make it longer first";
        }

        _length = found;
        return null;
    }

    public override void Punch(ulong offset, ulong length) =>
        _ = LibC.fallocate(
            _fd.Number, LibC.FALLOC_FL_PUNCH_HOLE | LibC.FALLOC_FL_KEEP_SIZE, (long)offset, (long)length);

    public override void Dispose()
    {
        Engine.RemoveFile(this);

        // A lock lasts as long as the open file, and the kernel closes the files that an io_uring had registered some time
        // after the process has ended: the next program to open the image would be refused.
        FileLock.Release(_fd);
        _fd.Dispose();
    }

    /// <summary>statx(2), with the alignment that O_DIRECT needs where the kernel knows it.</summary>
    public static unsafe Statx Status(FileDescriptor fd, string path)
    {
        Statx status = default;
        ErrnoException.Check(
            LibC.statx(fd.Number, "", LibC.AT_EMPTY_PATH, LibC.STATX_BASIC_STATS | LibC.STATX_DIOALIGN, &status),
            path);
        return status;
    }

    /// <summary>statx(2) of a path.</summary>
    /// <returns>False when there is no such file.</returns>
    public static unsafe bool TryStatus(string path, out Statx status, int flags = 0)
    {
        Statx found = default;

        // SAFETY: a struct on this stack.
        bool isThere = LibC.statx(LibC.AT_FDCWD, path, flags, LibC.STATX_BASIC_STATS, &found) == 0;
        status = found;
        return isThere;
    }

    /// <summary>The file that a path leads to, without links; null where it leads to none.</summary>
    public static unsafe string? RealPath(string path)
    {
        byte* buffer = stackalloc byte[4096];   // PATH_MAX

        // SAFETY: realpath(3) writes up to PATH_MAX bytes.
        return LibC.realpath(path, buffer) == null ? null : FileNames.FromBytes(MemoryMarshal.CreateReadOnlySpanFromNullTerminated(buffer));
    }

    private static unsafe (ulong Length, uint SectorBytes) FindLength(FileDescriptor fd, string path)
    {
        Statx status = Status(fd, path);
        if ((status.Mode & LibC.S_IFMT) != LibC.S_IFBLK)
        {
            return (status.Size, 1);
        }

        ulong length = 0;
        int sectorBytes = 0;

        // SAFETY: BLKGETSIZE64 writes eight bytes.
        ErrnoException.Check(LibC.ioctl(fd.Number, LibC.BLKGETSIZE64, &length), path);

        // SAFETY: BLKSSZGET writes an int.
        ErrnoException.Check(LibC.ioctl(fd.Number, LibC.BLKSSZGET, &sectorBytes), path);
        return (length, (uint)Math.Max(sectorBytes, 1));
    }
}

using System.Runtime.InteropServices;
using Tmds.Linux;
using Vmm.Boot;

namespace Vmm.Host;

// <fcntl.h>, <sys/stat.h>, <sys/uio.h>, <sys/vfs.h>, <linux/fs.h>, <linux/io_uring.h>.
internal static unsafe partial class LibCAdditions
{
    extension(LibC)
    {
        public static int SEEK_DATA => 3;

        public static int SEEK_HOLE => 4;

        public static int FALLOC_FL_ZERO_RANGE => 16;

        /// <summary>The most vectors of one call (limits.h).</summary>
        public static int IOV_MAX => 1024;

        public static int RWF_DSYNC => 2;

        /// <summary>Do not wait for data (EAGAIN).</summary>
        public static int RWF_NOWAIT => 8;

        public static uint STATX_DIOALIGN => 0x2000;

        /// <summary>Bytes of a block device.</summary>
        public static int BLKGETSIZE64 => unchecked((int)0x80081272);

        /// <summary>Bytes of a block device's logical sector, as an int.</summary>
        public static int BLKSSZGET => 0x1268;

        /// <summary>1 where a block device is read-only, as an int.</summary>
        public static int BLKROGET => 0x125e;

        public static uint IORING_SETUP_COOP_TASKRUN => 1 << 8;

        public static uint IORING_CQ_EVENTFD_DISABLED => 1;

        /// <summary>open(2) of a name as <see cref="FileNames"/> has it, as all that take a string here.</summary>
        /// <param name="mode">Mode of a new file, below 0x10000.</param>
        public static int open(string path, int flags, uint mode)
        {
            using var name = new FileNameBytes(path, stackalloc byte[FileNameBytes.OnStack]);
            return LibC.open(name.Start, flags, (mode_t)(ushort)mode);
        }

        public static int statx(int directory, string path, int flags, uint mask, Statx* result)
        {
            using var name = new FileNameBytes(path, stackalloc byte[FileNameBytes.OnStack]);
            return LibC.statx(directory, name.Start, flags, mask, (statx*)result);
        }

        public static int linkat(int oldDirectory, string oldPath, int newDirectory, string newPath, int flags)
        {
            using var from = new FileNameBytes(oldPath, stackalloc byte[FileNameBytes.OnStack]);
            using var to = new FileNameBytes(newPath, stackalloc byte[FileNameBytes.OnStack]);
            return LibC.linkat(oldDirectory, from.Start, newDirectory, to.Start, flags);
        }

        public static int lchown(string path, uint user, uint group)
        {
            using var name = new FileNameBytes(path, stackalloc byte[FileNameBytes.OnStack]);
            return LibC.lchown(name.Start, user, group);
        }

        public static int access(string path, int mode)
        {
            using var name = new FileNameBytes(path, stackalloc byte[FileNameBytes.OnStack]);
            return LibC.access(name.Start, mode);
        }

        /// <param name="mode">Below 0x10000.</param>
        public static int mkdir(string path, uint mode)
        {
            using var name = new FileNameBytes(path, stackalloc byte[FileNameBytes.OnStack]);
            return LibC.mkdir(name.Start, (mode_t)(ushort)mode);
        }

        public static int rmdir(string path)
        {
            using var name = new FileNameBytes(path, stackalloc byte[FileNameBytes.OnStack]);
            return LibC.rmdir(name.Start);
        }

        public static int rename(string from, string to)
        {
            using var old = new FileNameBytes(from, stackalloc byte[FileNameBytes.OnStack]);
            using var name = new FileNameBytes(to, stackalloc byte[FileNameBytes.OnStack]);
            return rename(old.Start, name.Start);
        }

        public static int unlink(string path)
        {
            using var name = new FileNameBytes(path, stackalloc byte[FileNameBytes.OnStack]);
            return LibC.unlink(name.Start);
        }

        /// <param name="resolved">Room for PATH_MAX bytes, 4096.</param>
        /// <returns>Null: the path leads nowhere.</returns>
        public static byte* realpath(string path, byte* resolved)
        {
            using var name = new FileNameBytes(path, stackalloc byte[FileNameBytes.OnStack]);
            return realpath(name.Start, resolved);
        }

        public static int memfd_create(ReadOnlySpan<byte> name, uint flags)
        {
            fixed (byte* start = name)
            {
                // SAFETY: a literal, which has a zero behind it.
                return LibC.memfd_create(start, flags);
            }
        }

        /// <summary>Of <c>f_type</c>, the first field of struct statfs, which has 120 bytes (statfs(2), linux/magic.h).</summary>
        public static long TMPFS_MAGIC => 0x01021994;

        [DllImport(Library, SetLastError = true)]
        public static extern int fstatfs(int fd, long* result);

        [DllImport(Library, SetLastError = true)]
        public static extern long readv(int fd, iovec* vectors, int count);

        [DllImport(Library, SetLastError = true)]
        public static extern long writev(int fd, iovec* vectors, int count);

        [DllImport(Library, SetLastError = true)]
        public static extern long preadv(int fd, iovec* vectors, int count, long offset);

        /// <param name="offset">-1: where the file is.</param>
        [DllImport(Library, SetLastError = true)]
        public static extern long preadv2(int fd, iovec* vectors, int count, long offset, int flags);

        [DllImport(Library, SetLastError = true)]
        public static extern long pwritev2(int fd, iovec* vectors, int count, long offset, int flags);
    }

    [DllImport(Library, SetLastError = true)]
    private static extern int rename(byte* from, byte* to);

    [DllImport(Library)]
    private static extern byte* realpath(byte* path, byte* resolved);
}

/// <summary>struct statx as far as it is used; Tmds.LibC's ends before the alignment of direct I/O.</summary>
[StructLayout(LayoutKind.Explicit, Size = 256)]
internal struct Statx
{
    [FieldOffset(0)]
    public uint Mask;

    [FieldOffset(16)]
    public uint Links;

    [FieldOffset(20)]
    public uint UserId;

    [FieldOffset(24)]
    public uint GroupId;

    [FieldOffset(28)]
    public ushort Mode;

    [FieldOffset(32)]
    public ulong Inode;

    [FieldOffset(40)]
    public ulong Size;

    /// <summary>Blocks of 512 bytes that its file system has allocated.</summary>
    [FieldOffset(48)]
    public ulong Blocks;

    /// <summary>When its content or its inode changed last: nobody can set that back.</summary>
    [FieldOffset(96)]
    public long ChangedSeconds;

    [FieldOffset(104)]
    public uint ChangedNanoseconds;

    /// <summary>When its content changed last: seconds and nanoseconds.</summary>
    [FieldOffset(112)]
    public long ModifiedSeconds;

    [FieldOffset(120)]
    public uint ModifiedNanoseconds;

    [FieldOffset(136)]
    public uint DeviceMajor;

    [FieldOffset(140)]
    public uint DeviceMinor;

    [FieldOffset(152)]
    public uint DioMemoryAlign;

    [FieldOffset(156)]
    public uint DioOffsetAlign;

    /// <summary>Is it one file, whatever its names?</summary>
    public readonly bool IsSameFile(in Statx other) =>
        (Inode, DeviceMajor, DeviceMinor) == (other.Inode, other.DeviceMajor, other.DeviceMinor);
}

using System.Runtime.InteropServices;
using Vmm.Boot;

namespace Vmm.Host;

// <sys/stat.h>, <sys/uio.h>, <unistd.h>, <linux/fs.h>: what disk images need. Layouts are proved by IoUringAbiTests.
internal static unsafe partial class LibC
{
    public const int O_EXCL = 0x80;
    public const int O_TMPFILE = 0x410000;

    public const short F_UNLCK = 2;

    public const int RWF_DSYNC = 2;

    public const int AT_FDCWD = -100;
    public const int AT_EMPTY_PATH = 0x1000;
    public const uint STATX_BASIC_STATS = 0x7ff;
    public const uint STATX_DIOALIGN = 0x2000;

    public const ushort S_IFMT = 0xf000;
    public const ushort S_IFDIR = 0x4000;
    public const ushort S_IFBLK = 0x6000;
    public const ushort S_IFREG = 0x8000;
    public const ushort S_IFSOCK = 0xc000;
    public const ushort S_IWOTH = 0x2;

    /// <summary>BLKGETSIZE64: bytes of a block device.</summary>
    public const nuint BLKGETSIZE64 = 0x80081272;

    /// <summary>BLKSSZGET: bytes of a block device's logical sector, as an int.</summary>
    public const nuint BLKSSZGET = 0x1268;

    /// <summary>BLKROGET: 1 where a block device is read-only, as an int.</summary>
    public const nuint BLKROGET = 0x125e;

    /// <summary>IOV_MAX: vectors of one call.</summary>
    public const int IOV_MAX = 1024;

    /// <summary>struct statx, as far as it is used.</summary>
    [StructLayout(LayoutKind.Explicit, Size = 256)]
    public struct Statx
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

        /// <summary>Of 512 bytes, that it takes on its file system.</summary>
        [FieldOffset(48)]
        public ulong Blocks;

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
    }

    [LibraryImport(
        "libc", EntryPoint = "statx", SetLastError = true, StringMarshalling = StringMarshalling.Custom,
        StringMarshallingCustomType = typeof(FileNameMarshaller))]
    public static partial int StatxCall(int directory, string path, int flags, uint mask, Statx* result);

    public const int AT_SYMLINK_NOFOLLOW = 0x100;
    public const int AT_SYMLINK_FOLLOW = 0x400;

    [LibraryImport(
        "libc", EntryPoint = "lchown", SetLastError = true, StringMarshalling = StringMarshalling.Custom,
        StringMarshallingCustomType = typeof(FileNameMarshaller))]
    public static partial int Lchown(string path, uint user, uint group);

    [LibraryImport(
        "libc", EntryPoint = "linkat", SetLastError = true, StringMarshalling = StringMarshalling.Custom,
        StringMarshallingCustomType = typeof(FileNameMarshaller))]
    public static partial int Linkat(int oldDirectory, string oldPath, int newDirectory, string newPath, int flags);

    public const int X_OK = 1;
    public const int F_OK = 0, R_OK = 4;
    public const int W_OK = 2;

    [LibraryImport(
        "libc", EntryPoint = "access", SetLastError = true, StringMarshalling = StringMarshalling.Custom,
        StringMarshallingCustomType = typeof(FileNameMarshaller))]
    public static partial int Access(string path, int mode);

    [LibraryImport("libc", EntryPoint = "pread", SetLastError = true)]
    public static partial nint Pread(int fd, void* buffer, nuint count, long offset);

    [LibraryImport("libc", EntryPoint = "pwrite", SetLastError = true)]
    public static partial nint Pwrite(int fd, void* buffer, nuint count, long offset);

    [LibraryImport("libc", EntryPoint = "pwritev2", SetLastError = true)]
    public static partial nint Pwritev2(int fd, Iovec* vectors, int count, long offset, int flags);

    [LibraryImport("libc", EntryPoint = "ftruncate", SetLastError = true)]
    public static partial int Ftruncate(int fd, long length);

    public const uint MFD_CLOEXEC = 1;
    public const uint MFD_ALLOW_SEALING = 2;

    [LibraryImport("libc", EntryPoint = "memfd_create", SetLastError = true, StringMarshalling = StringMarshalling.Utf8)]
    public static partial int MemfdCreate(string name, uint flags);

    [LibraryImport(
        "libc", EntryPoint = "realpath", StringMarshalling = StringMarshalling.Custom,
        StringMarshallingCustomType = typeof(FileNameMarshaller))]
    public static partial nint Realpath(string path, byte* resolved);
}

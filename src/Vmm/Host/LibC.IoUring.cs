using System.Runtime.InteropServices;

namespace Vmm.Host;

// <linux/io_uring.h> and its three system calls, which glibc does not wrap. Layouts are proved by IoUringAbiTests.
internal static unsafe partial class LibC
{
    public const long SYS_io_uring_setup = 425;
    public const long SYS_io_uring_enter = 426;
    public const long SYS_io_uring_register = 427;

    public const byte IORING_OP_READV = 1;
    public const byte IORING_OP_WRITEV = 2;
    public const byte IORING_OP_FSYNC = 3;
    public const byte IORING_OP_FALLOCATE = 17;
    public const byte IORING_OP_READ = 22;
    public const byte IORING_OP_WRITE = 23;

    public const byte IOSQE_FIXED_FILE = 1;
    public const byte IOSQE_ASYNC = 16;

    public const uint IORING_FSYNC_DATASYNC = 1;

    public const uint IORING_SETUP_COOP_TASKRUN = 1 << 8;

    public const uint IORING_FEAT_SINGLE_MMAP = 1;

    public const uint IORING_ENTER_GETEVENTS = 1;

    public const uint IORING_CQ_EVENTFD_DISABLED = 1;

    public const uint IORING_REGISTER_FILES = 2;
    public const uint IORING_REGISTER_EVENTFD = 4;
    public const uint IORING_REGISTER_FILES_UPDATE = 6;

    public const long IORING_OFF_SQ_RING = 0;
    public const long IORING_OFF_SQES = 0x10000000;

    /// <summary>struct io_uring_sqe; the unions under the name that files use.</summary>
    [StructLayout(LayoutKind.Sequential, Size = 64)]
    public struct IoUringSqe
    {
        public byte Opcode;
        public byte Flags;
        public ushort IoPriority;
        public int Fd;
        public ulong Offset;
        public ulong Address;
        public uint Length;
        public uint OperationFlags;
        public ulong UserData;
    }

    /// <summary>struct io_uring_cqe.</summary>
    [StructLayout(LayoutKind.Sequential)]
    public struct IoUringCqe
    {
        public ulong UserData;
        public int Result;
        public uint Flags;
    }

    /// <summary>struct io_sqring_offsets.</summary>
    [StructLayout(LayoutKind.Sequential)]
    public struct IoSqringOffsets
    {
        public uint Head;
        public uint Tail;
        public uint RingMask;
        public uint RingEntries;
        public uint Flags;
        public uint Dropped;
        public uint Array;
        public uint Reserved1;
        public ulong Reserved2;
    }

    /// <summary>struct io_cqring_offsets.</summary>
    [StructLayout(LayoutKind.Sequential)]
    public struct IoCqringOffsets
    {
        public uint Head;
        public uint Tail;
        public uint RingMask;
        public uint RingEntries;
        public uint Overflow;
        public uint Cqes;
        public uint Flags;
        public uint Reserved1;
        public ulong Reserved2;
    }

    /// <summary>struct io_uring_params.</summary>
    [StructLayout(LayoutKind.Sequential)]
    public struct IoUringParams
    {
        public uint SqEntries;
        public uint CqEntries;
        public uint Flags;
        public uint SqThreadCpu;
        public uint SqThreadIdle;
        public uint Features;
        public uint WqFd;
        public uint Reserved0;
        public uint Reserved1;
        public uint Reserved2;
        public IoSqringOffsets SqOff;
        public IoCqringOffsets CqOff;
    }

    /// <summary>struct io_uring_files_update.</summary>
    [StructLayout(LayoutKind.Sequential)]
    public struct IoUringFilesUpdate
    {
        public uint Offset;
        public uint Reserved;
        public ulong Fds;
    }

    // syscall is variadic; see ioctl for why that makes no difference here.
    [LibraryImport("libc", EntryPoint = "syscall", SetLastError = true)]
    private static partial nint Syscall(nint number, nint a, nint b, nint c, nint d, nint e, nint f);

    public static int IoUringSetup(uint entries, IoUringParams* parameters) =>
        (int)Syscall((nint)SYS_io_uring_setup, (nint)entries, (nint)parameters, 0, 0, 0, 0);

    public static int IoUringEnter(int fd, uint toSubmit, uint minComplete, uint flags) =>
        (int)Syscall((nint)SYS_io_uring_enter, fd, (nint)toSubmit, (nint)minComplete, (nint)flags, 0, 0);

    public static int IoUringRegister(int fd, uint operation, void* argument, uint count) =>
        (int)Syscall((nint)SYS_io_uring_register, fd, (nint)operation, (nint)argument, (nint)count, 0, 0);
}

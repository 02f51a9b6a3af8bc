using System.Runtime.InteropServices;

namespace Vmm.Host;

// <unistd.h>, <sys/uio.h>, <sys/ioctl.h>, <sys/sysinfo.h>, <malloc.h>.
internal static unsafe partial class LibC
{
    /// <summary>struct iovec.</summary>
    [StructLayout(LayoutKind.Sequential)]
    public struct Iovec
    {
        public nint Base;
        public nuint Length;
    }

    /// <summary>struct sysinfo.</summary>
    [StructLayout(LayoutKind.Sequential, Size = 112)]
    public struct SystemInformation
    {
        public long Uptime;
        public ulong Load1, Load5, Load15;
        public ulong TotalRam, FreeRam, SharedRam, BufferRam, TotalSwap, FreeSwap;
        public ushort Processes;
        public ulong TotalHigh, FreeHigh;
        public uint MemoryUnit;
    }

    [LibraryImport("libc", EntryPoint = "execv", SetLastError = true, StringMarshalling = StringMarshalling.Utf8)]
    public static partial int Execv(string path, byte** arguments);

    [LibraryImport("libc", EntryPoint = "sysinfo", SetLastError = true)]
    public static partial int Sysinfo(SystemInformation* information);

    /// <summary>glibc's limit to the arenas that malloc(3) makes for threads: mallopt(3), M_ARENA_MAX.</summary>
    public const int M_ARENA_MAX = -8;

    /// <returns>1, or 0 for an error.</returns>
    [LibraryImport("libc", EntryPoint = "mallopt")]
    public static partial int Mallopt(int parameter, int value);

    [LibraryImport("libc", EntryPoint = "close", SetLastError = true)]
    public static partial int Close(int fd);

    [LibraryImport("libc", EntryPoint = "dup3", SetLastError = true)]
    public static partial int Dup3(int from, int to, int flags);

    [LibraryImport("libc", EntryPoint = "read", SetLastError = true)]
    public static partial nint Read(int fd, void* buffer, nuint count);

    [LibraryImport("libc", EntryPoint = "write", SetLastError = true)]
    public static partial nint Write(int fd, void* buffer, nuint count);

    [LibraryImport("libc", EntryPoint = "preadv", SetLastError = true)]
    public static partial nint Preadv(int fd, Iovec* vectors, int count, long offset);

    [LibraryImport("libc", EntryPoint = "pwritev", SetLastError = true)]
    public static partial nint Pwritev(int fd, Iovec* vectors, int count, long offset);

    /// <summary>preadv2(2): do not wait for data (EAGAIN).</summary>
    public const int RWF_NOWAIT = 8;

    /// <param name="offset">-1: where the file is.</param>
    [LibraryImport("libc", EntryPoint = "preadv2", SetLastError = true)]
    public static partial nint Preadv2(int fd, Iovec* vectors, int count, long offset, int flags);

    [LibraryImport("libc", EntryPoint = "lseek", SetLastError = true)]
    public static partial long Lseek(int fd, long offset, int whence);

    [LibraryImport("libc", EntryPoint = "fdatasync", SetLastError = true)]
    public static partial int Fdatasync(int fd);

    [LibraryImport("libc", EntryPoint = "isatty", SetLastError = true)]
    public static partial int IsATty(int fd);

    [LibraryImport("libc", EntryPoint = "gettid")]
    public static partial int Gettid();

    [LibraryImport("libc", EntryPoint = "geteuid")]
    public static partial uint Geteuid();

    [LibraryImport("libc", EntryPoint = "getpid")]
    public static partial int Getpid();

    // ioctl is variadic; on x86-64 that makes no difference for integer arguments (System V ABI 3.5.7: only AL,
    // the number of vector registers used, is special, and glibc's ioctl does not look at it).
    [LibraryImport("libc", EntryPoint = "ioctl", SetLastError = true)]
    public static partial int Ioctl(int fd, nuint request, nint argument);
}

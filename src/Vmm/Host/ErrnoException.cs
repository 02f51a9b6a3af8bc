using System.Runtime.InteropServices;
using Vmm.Boot;

namespace Vmm.Host;

/// <summary>A system call failed. The message names the call, the error, and what to do where that is known.</summary>
internal sealed class ErrnoException : Exception
{
    // Constants, unlike those of Tmds.LibC, as most are used in patterns. LibCTests compares them.
    public const int EPERM = 1;
    public const int ENOENT = 2;
    public const int ESRCH = 3;
    public const int EINTR = 4;
    public const int EIO = 5;
    public const int ENXIO = 6;
    public const int E2BIG = 7;
    public const int EAGAIN = 11;
    public const int EACCES = 13;
    public const int EBUSY = 16;
    public const int EEXIST = 17;
    public const int ENODEV = 19;
    public const int EISDIR = 21;
    public const int EINVAL = 22;
    public const int ENFILE = 23;
    public const int EMFILE = 24;
    public const int ENOTTY = 25;
    public const int ETXTBSY = 26;
    public const int EFBIG = 27;
    public const int ENOSPC = 28;
    public const int EROFS = 30;
    public const int EPIPE = 32;
    public const int ENAMETOOLONG = 36;
    public const int ENOSYS = 38;
    public const int EOPNOTSUPP = 95;
    public const int EADDRINUSE = 98;
    public const int EADDRNOTAVAIL = 99;
    public const int ECONNRESET = 104;
    public const int ECONNREFUSED = 111;

    public ErrnoException(string call, int errno, string? remedy = null)
        : base($"{call}: {Describe(errno)}{(remedy is null ? FileErrors.Remedy(errno) : ": " + remedy)}")
    {
        Errno = errno;
    }

    public int Errno { get; }

    /// <summary>Returns the result of a call; throws if it is -1.</summary>
    public static int Check(int result, string call, string? remedy = null) =>
        result >= 0 ? result : throw new ErrnoException(call, Marshal.GetLastPInvokeError(), remedy);

    /// <summary>What an error number means, in the C library's words.</summary>
    public static string Describe(int errno) => Marshal.GetPInvokeErrorMessage(errno);
}

using System.Runtime.InteropServices;
using Microsoft.Win32.SafeHandles;

namespace Vmm.Daemon.Hosting;

/// <summary>Calls that .NET lacks.</summary>
internal static partial class Native
{
    private const int F_SETFD = 2, FD_CLOEXEC = 1, F_OFD_GETLK = 36;
    private const short F_WRLCK = 1, F_UNLCK = 2;

    [LibraryImport("libc", EntryPoint = "geteuid")]
    public static partial uint Geteuid();

    /// <summary>A descriptor that is not for the machines: systemd gives those of sockets without FD_CLOEXEC.</summary>
    public static void CloseOnExec(int descriptor) => _ = Fcntl(descriptor, F_SETFD, FD_CLOEXEC);

    /// <summary>Whether some process has a lock on the first byte of a file (fcntl_locking(2)).</summary>
    public static unsafe bool IsLocked(SafeFileHandle file)
    {
        var asked = new Flock { Type = F_WRLCK, Length = 1 };

        // SAFETY: one struct on this stack; the handle is open.
        return Fcntl((int)file.DangerousGetHandle(), F_OFD_GETLK, &asked) == 0 && asked.Type != F_UNLCK;
    }

    [LibraryImport("libc", EntryPoint = "fcntl")]
    private static unsafe partial int Fcntl(int descriptor, int command, Flock* argument);

    [LibraryImport("libc", EntryPoint = "fcntl")]
    private static partial int Fcntl(int descriptor, int command, int argument);

    /// <summary>struct flock, where off_t has 64 bits.</summary>
    [StructLayout(LayoutKind.Sequential)]
    private struct Flock
    {
        public short Type, Whence;
        public long Start, Length;
        public int Pid;
    }
}

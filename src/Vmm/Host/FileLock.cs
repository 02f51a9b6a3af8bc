using System.Runtime.InteropServices;
using Tmds.Linux;

namespace Vmm.Host;

/// <summary>Locks on whole files, of the open-file-description kind (fcntl(2)): they end with the descriptor, hold against
/// this process too, and QEMU's own locks meet them.</summary>
internal static unsafe class FileLock
{
    /// <param name="shared">A lock for reading, which others may hold too.</param>
    /// <returns>False while another open file has a conflicting lock. True on a file system without locks.</returns>
    public static bool TryTake(FileDescriptor fd, bool shared) =>
        Set(fd, shared ? LibC.F_RDLCK : LibC.F_WRLCK) is not (ErrnoException.EAGAIN or ErrnoException.EACCES);

    /// <summary>Takes an exclusive lock on one byte of the file, which may lie past the file's end.</summary>
    public static bool TryTakeByte(FileDescriptor fd, long at) =>
        Set(fd, LibC.F_WRLCK, at, 1) is not (ErrnoException.EAGAIN or ErrnoException.EACCES);

    /// <summary>Does another open file have that byte locked? Takes no lock.</summary>
    public static bool IsByteTaken(FileDescriptor fd, long at)
    {
        var request = new flock { l_type = (short)LibC.F_WRLCK, l_whence = (short)LibC.SEEK_SET, l_start = at, l_len = 1 };

        // SAFETY: a struct on this stack.
        return LibC.fcntl(fd.Number, LibC.F_OFD_GETLK, &request) == 0 && request.l_type != LibC.F_UNLCK;
    }

    /// <summary>Releases the lock. Needed where something else may still hold the open file after the descriptor is closed.</summary>
    public static void Release(FileDescriptor fd) => _ = Set(fd, LibC.F_UNLCK);

    /// <param name="length">0: to the end, wherever that will be.</param>
    private static int Set(FileDescriptor fd, int type, long start = 0, long length = 0)
    {
        var request = new flock { l_type = (short)type, l_whence = (short)LibC.SEEK_SET, l_start = start, l_len = length };

        // SAFETY: a struct on this stack.
        return LibC.fcntl(fd.Number, LibC.F_OFD_SETLK, &request) == 0 ? 0 : Marshal.GetLastPInvokeError();
    }
}

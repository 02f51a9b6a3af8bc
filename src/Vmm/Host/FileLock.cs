using System.Runtime.InteropServices;

namespace Vmm.Host;

/// <summary>Locks on whole files, of the open-file-description kind (fcntl(2)): they end with the descriptor, hold against
/// this process too, and QEMU's own locks meet them.</summary>
internal static class FileLock
{
    /// <param name="shared">With others who only read.</param>
    /// <returns>False while somebody else has it. On a file system without locks there is none, and this is true.</returns>
    public static bool TryTake(FileDescriptor fd, bool shared) =>
        Set(fd, shared ? LibC.F_RDLCK : LibC.F_WRLCK) is not (ErrnoException.EAGAIN or ErrnoException.EACCES);

    /// <summary>Before the descriptor is closed, where something else may still hold the open file.</summary>
    public static void Release(FileDescriptor fd) => _ = Set(fd, LibC.F_UNLCK);

    private static int Set(FileDescriptor fd, short type)
    {
        // From byte 0 to the end, wherever that will be: a length of 0.
        var request = new LibC.Flock { Type = type, Whence = LibC.SEEK_SET };
        return LibC.Fcntl(fd.Number, LibC.F_OFD_SETLK, ref request) == 0 ? 0 : Marshal.GetLastPInvokeError();
    }
}

using System.Runtime.InteropServices;
using Microsoft.Win32.SafeHandles;
using Tmds.Linux;

namespace Vmm.Boot;

/// <summary>A file or block device opened for reading by its name's bytes. Not File.OpenHandle, which supports only UTF-8 names
/// and does not know the length of a block device.</summary>
internal static unsafe class OpenedFile
{
    /// <param name="length">Bytes; 0 for a regular file without a length, as those in /proc.</param>
    /// <param name="reason">Why it cannot be used.</param>
    /// <param name="errno">The errno if open(2) failed; else 0.</param>
    /// <returns>Null: it cannot be used.</returns>
    public static SafeFileHandle? TryOpen(string path, out long length, out string? reason, out int errno)
    {
        (length, errno) = (0, 0);
        int number;
        using (var name = new FileNameBytes(path, stackalloc byte[FileNameBytes.OnStack]))
        {
            // A named pipe would wait for a writer, if it were not for O_NONBLOCK.
            number = LibC.open(name.Start, LibC.O_RDONLY | LibC.O_NONBLOCK | LibC.O_CLOEXEC, 0);
        }

        if (number < 0)
        {
            errno = Marshal.GetLastPInvokeError();
            reason = path.Length == 0 ? "is not a path" : FileErrors.Describe(errno);
            return null;
        }

        var file = new SafeFileHandle(number, ownsHandle: true);
        reason = Check(number, out length);
        if (reason is null)
        {
            return file;
        }

        file.Dispose();
        return null;
    }

    private static string? Check(int number, out long length)
    {
        length = 0;
        statx status;
        byte nothing = 0;
        if (LibC.statx(number, &nothing, LibC.AT_EMPTY_PATH, LibC.STATX_TYPE | LibC.STATX_SIZE, &status) != 0)
        {
            return FileErrors.Describe(Marshal.GetLastPInvokeError());
        }

        mode_t kind = status.stx_mode & LibC.S_IFMT;
        if (kind == LibC.S_IFDIR)
        {
            return FileErrors.Describe(LibC.EISDIR);
        }

        if (kind == LibC.S_IFBLK)
        {
            length = LibC.lseek(number, 0, LibC.SEEK_END);
            return length < 0 ? FileErrors.Describe(Marshal.GetLastPInvokeError()) : null;
        }

        if (kind != LibC.S_IFREG)
        {
            return "is not a regular file or a block device: copy it into a file";
        }

        length = (long)status.stx_size;
        bool isInUse = LibC.flock(number, LibC.LOCK_SH | LibC.LOCK_NB) != 0 && Marshal.GetLastPInvokeError() == LibC.EAGAIN;
        return isInUse ? "is in use: something else writes to it" : null;
    }
}

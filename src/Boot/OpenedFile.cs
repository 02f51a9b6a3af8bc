using System.Buffers.Binary;
using System.Runtime.InteropServices;
using System.Runtime.InteropServices.Marshalling;
using Microsoft.Win32.SafeHandles;

namespace Vmm.Boot;

/// <summary>A file or block device opened for reading by its name's bytes. Not File.OpenHandle, which supports only UTF-8 names
/// and does not know the length of a block device.</summary>
internal static unsafe partial class OpenedFile
{
    private const int O_RDONLY = 0;
    private const int O_NONBLOCK = 0x800;       // a named pipe would wait for a writer
    private const int O_CLOEXEC = 0x80000;
    private const int AT_EMPTY_PATH = 0x1000;
    private const uint STATX_TYPE_AND_SIZE = 0x201;
    private const int S_IFMT = 0xf000;
    private const int S_IFDIR = 0x4000;
    private const int S_IFBLK = 0x6000;
    private const int S_IFREG = 0x8000;
    private const int LOCK_SH_NB = 1 | 4;
    private const int SEEK_END = 2;
    private const int EAGAIN = 11;
    private const int EISDIR = 21;

    /// <param name="length">Bytes; 0 for a regular file without a length, as those in /proc.</param>
    /// <param name="reason">Why it cannot be used.</param>
    /// <param name="errno">Of open(2), if that is why; else 0.</param>
    /// <returns>Null: it cannot be used.</returns>
    public static SafeFileHandle? TryOpen(string path, out long length, out string? reason, out int errno)
    {
        (length, errno) = (0, 0);
        int number = Open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
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
        // struct statx of <linux/stat.h>: stx_mode at 28, stx_size at 40.
        byte* status = stackalloc byte[256];
        length = 0;
        if (Statx(number, "", AT_EMPTY_PATH, STATX_TYPE_AND_SIZE, status) != 0)
        {
            return FileErrors.Describe(Marshal.GetLastPInvokeError());
        }

        switch (BinaryPrimitives.ReadUInt16LittleEndian(new ReadOnlySpan<byte>(status + 28, 2)) & S_IFMT)
        {
            case S_IFDIR:
                return FileErrors.Describe(EISDIR);
            case S_IFBLK:
                length = Lseek(number, 0, SEEK_END);
                return length < 0 ? FileErrors.Describe(Marshal.GetLastPInvokeError()) : null;
            case S_IFREG:
                length = BinaryPrimitives.ReadInt64LittleEndian(new ReadOnlySpan<byte>(status + 40, 8));
                bool isInUse = Flock(number, LOCK_SH_NB) != 0 && Marshal.GetLastPInvokeError() == EAGAIN;
                return isInUse ? "is in use: something else writes to it" : null;
            default:
                return "is not a regular file or a block device: copy it into a file";
        }
    }

    [LibraryImport("libc", EntryPoint = "open", SetLastError = true)]
    private static partial int Open([MarshalUsing(typeof(FileNameMarshaller))] string path, int flags);

    [LibraryImport("libc", EntryPoint = "statx", SetLastError = true, StringMarshalling = StringMarshalling.Utf8)]
    private static partial int Statx(int directory, string path, int flags, uint mask, byte* result);

    [LibraryImport("libc", EntryPoint = "lseek", SetLastError = true)]
    private static partial long Lseek(int fd, long offset, int whence);

    [LibraryImport("libc", EntryPoint = "flock", SetLastError = true)]
    private static partial int Flock(int fd, int operation);
}

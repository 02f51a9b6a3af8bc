using System.Runtime.InteropServices;
using Vmm.Host;

namespace Vmm.Disks;

/// <summary>Opens an image and makes sure that nobody else writes to it.</summary>
internal static class DiskFile
{
    private const int SectorSize = 512;

    /// <summary>Opens and locks an image file or a block device.</summary>
    /// <returns>The descriptor, and the length in bytes.</returns>
    /// <exception cref="UsageException">It is missing, a directory, empty, of an odd length, not permitted, or in
    /// use.</exception>
    public static (FileDescriptor File, ulong Length) Open(string path, bool readOnly)
    {
        if (Directory.Exists(path))
        {
            throw new UsageException($"disk {path}: is a directory; give an image file");
        }

        int fd = LibC.Open(path, (readOnly ? LibC.O_RDONLY : LibC.O_RDWR) | LibC.O_CLOEXEC, 0);
        if (fd < 0)
        {
            throw OpenFailed(path, readOnly, Marshal.GetLastPInvokeError());
        }

        var file = new FileDescriptor(fd);
        try
        {
            Lock(file, path, readOnly);
            return (file, Measure(file, path));
        }
        catch
        {
            file.Dispose();
            throw;
        }
    }

    private static UsageException OpenFailed(string path, bool readOnly, int errno) => new(errno switch
    {
        ErrnoException.ENOENT => $"disk {path}: no such file; make one with 'truncate -s 1G {path}'",
        ErrnoException.EACCES or ErrnoException.EPERM or ErrnoException.EROFS when !readOnly =>
            $"disk {path}: no permission to write to it; change that, or give --disk {path},readonly",
        _ => new ErrnoException($"disk {path}", errno).Message,
    });

    /// <summary>An open file description lock over the whole file: exclusive for writers, shared for readers. It also
    /// stands between two opens of one process, and goes with the descriptor (fcntl(2)).</summary>
    private static void Lock(FileDescriptor file, string path, bool readOnly)
    {
        var wanted = new LibC.Flock { Type = readOnly ? LibC.F_RDLCK : LibC.F_WRLCK, Whence = LibC.SEEK_SET };
        if (LibC.Fcntl(file.Number, LibC.F_OFD_SETLK, ref wanted) < 0)
        {
            int errno = Marshal.GetLastPInvokeError();
            throw errno is ErrnoException.EAGAIN or ErrnoException.EACCES
                ? new UsageException(
                    $"disk {path}: in use by another disk or another vmm; an image has one writer or many readers")
                : new UsageException(new ErrnoException($"disk {path}: lock", errno).Message);
        }
    }

    private static ulong Measure(FileDescriptor file, string path)
    {
        long length = LibC.Lseek(file.Number, 0, LibC.SEEK_END);
        return length switch
        {
            < 0 => throw new UsageException(
                new ErrnoException($"disk {path}", Marshal.GetLastPInvokeError(), "give a file or a block device").Message),
            0 => throw new UsageException($"disk {path}: is empty; give it a size with 'truncate -s 1G {path}'"),
            _ when length % SectorSize != 0 => throw new UsageException(
                $"disk {path}: its length of {length} bytes is no multiple of 512; is it a raw image?"),
            _ => (ulong)length,
        };
    }
}

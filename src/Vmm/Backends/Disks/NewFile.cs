using System.Runtime.InteropServices;
using Vmm.Boot;
using Vmm.Host;

namespace Vmm.Backends.Disks;

/// <summary>A file that gets its name only when it is complete: if vmm is ended before, nothing is left behind.</summary>
internal static class NewFile
{
    private const uint Mode = 0x1b6;        // rw-rw-rw-, less the umask

    /// <param name="path">Must not exist yet.</param>
    /// <param name="fill">Writes the content; throws if it cannot.</param>
    /// <exception cref="UsageException">The file is there already or cannot be made.</exception>
    public static void Create(string path, Action<FileDescriptor> fill)
    {
        if (HostFile.TryStatus(path, out _))
        {
            throw CannotMake(path, ErrnoException.EEXIST);
        }

        string directory = Path.GetDirectoryName(path) is { Length: > 0 } parent ? parent : path.StartsWith('/') ? "/" : ".";
        int number = LibC.open(directory, LibC.O_TMPFILE | LibC.O_RDWR | LibC.O_CLOEXEC, Mode);
        int errno = number < 0 ? Marshal.GetLastPInvokeError() : 0;
        if (errno is ErrnoException.EOPNOTSUPP or ErrnoException.EISDIR or ErrnoException.ENOENT or ErrnoException.EINVAL)
        {
            CreateInPlace(path, fill);      // the file system has no files without names (open(2), O_TMPFILE)
            return;
        }

        if (errno != 0)
        {
            throw CannotMake(path, errno);
        }

        using var fd = new FileDescriptor(number);
        fill(fd);
        if (LibC.linkat(LibC.AT_FDCWD, $"/proc/self/fd/{number}", LibC.AT_FDCWD, path, LibC.AT_SYMLINK_FOLLOW) != 0)
        {
            throw CannotMake(path, Marshal.GetLastPInvokeError());
        }
    }

    /// <summary>Writes the whole content, and waits until it is durable.</summary>
    /// <exception cref="HostException">The disk is full, for instance.</exception>
    public static unsafe void Write(string path, FileDescriptor fd, ReadOnlySpan<byte> content)
    {
        int errno = 0;
        for (int done = 0; done < content.Length && errno is 0 or ErrnoException.EINTR;)
        {
            fixed (byte* start = content)
            {
                // SAFETY: what is left of the span.
                long count = LibC.pwrite(fd.Number, start + done, content.Length - done, done);
                errno = count < 0 ? Marshal.GetLastPInvokeError() : 0;
                done += (int)Math.Max(count, 0);
            }
        }

        errno = errno == 0 && LibC.fdatasync(fd.Number) != 0 ? Marshal.GetLastPInvokeError() : errno;
        if (errno != 0)
        {
            throw new HostException($"{path}: {FileErrors.Describe(errno)}: it was not made");
        }
    }

    private static void CreateInPlace(string path, Action<FileDescriptor> fill)
    {
        int number = LibC.open(path, LibC.O_RDWR | LibC.O_CREAT | LibC.O_EXCL | LibC.O_CLOEXEC, Mode);
        if (number < 0)
        {
            throw CannotMake(path, Marshal.GetLastPInvokeError());
        }

        using var fd = new FileDescriptor(number);
        try
        {
            fill(fd);
        }
        catch
        {
            _ = LibC.unlink(path);
            throw;
        }
    }

    private static Exception CannotMake(string path, int errno) => errno == ErrnoException.EEXIST
        ? new UsageException($"{path}: is there already; remove it first, or give another name")
        : FileErrors.IsHostsFault(errno) ? new HostException($"{path}: {FileErrors.Describe(errno)}")
        : new UsageException($"{path}: {FileErrors.Describe(errno)}");
}

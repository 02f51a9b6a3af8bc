using System.Runtime.InteropServices;
using Tmds.Linux;
using Vmm.Boot;
using Vmm.Host;

namespace Vmm.Backends.Disks;

/// <summary>Opens image files, with a lock against other writers, and errors that say what to do.</summary>
internal static class DiskFiles
{
    private const uint OwnerOnly = 0x180;       // rw-------

    /// <param name="path">A file or block device.</param>
    /// <param name="readOnly">Opens it read-only and shares it with other readers; otherwise no other program may have it
    /// open.</param>
    /// <exception cref="UsageException">It is missing, may not be written, is in use, or its file system has no
    /// O_DIRECT.</exception>
    public static HostFile Open(
        string path, bool readOnly, FileEngine engine, DiskCache cache = DiskCache.Writeback)
    {
        int flags = (readOnly ? LibC.O_RDONLY : LibC.O_RDWR) | LibC.O_CLOEXEC;
        int number = LibC.open(path, flags, 0);
        if (number < 0)
        {
            throw CannotOpen(path, readOnly, Marshal.GetLastPInvokeError());
        }

        var fd = new FileDescriptor(number);
        try
        {
            CheckKind(fd, path, readOnly);
            Lock(fd, path, readOnly);
            return cache == DiskCache.None
                ? new DirectFile(path, fd, OpenDirect(fd, path, flags), readOnly, engine)
                : new HostFile(path, fd, readOnly, engine) { IgnoresFlush = cache == DiskCache.Unsafe };
        }
        catch
        {
            fd.Dispose();
            throw;
        }
    }

    /// <summary>A file without a name, which disappears when it is closed; in memory where no directory supports that.</summary>
    public static HostFile OpenTemporary(FileEngine engine) => Temporary(CreateNameless(), engine);

    /// <summary>A file without a name, in TMPDIR or /var/tmp; in memory where no directory supports that.
    /// </summary>
    public static FileDescriptor CreateNameless()
    {
        foreach (string? directory in (string?[])[Environment.GetEnvironmentVariable("TMPDIR"), "/var/tmp", "/tmp"])
        {
            int number = string.IsNullOrEmpty(directory)
                ? -1
                : LibC.open(directory, LibC.O_TMPFILE | LibC.O_RDWR | LibC.O_CLOEXEC, OwnerOnly);
            if (number >= 0)
            {
                return new FileDescriptor(number);
            }
        }

        return new FileDescriptor(ErrnoException.Check(LibC.memfd_create("vmm-ephemeral"u8, LibC.MFD_CLOEXEC), "memfd_create"));
    }

    /// <summary>Wraps a temporary file that is open; owned from now on.</summary>
    public static HostFile Temporary(FileDescriptor fd, FileEngine engine) =>
        new("ephemeral overlay", fd, readOnly: false, engine) { IgnoresFlush = true };

    /// <summary>Checks the length of a raw disk.</summary>
    /// <exception cref="UsageException">It is empty or no whole number of sectors.</exception>
    public static void CheckRawLength(HostFile file)
    {
        if (file.Length == 0)
        {
            throw new UsageException(
                $"--disk {file.Path}: the file is empty; give it a size, for instance: truncate -s 1G {file.Path}");
        }

        if (file.Length % 512 != 0)
        {
            ulong whole = (file.Length + 511) / 512 * 512;
            throw new UsageException(
                $"--disk {file.Path}: {file.Length} bytes are no multiple of 512; add ',format=qcow2' if it is such an "
                + $"image, or fill it up: truncate -s {whole} {file.Path}");
        }
    }

    private static Exception CannotOpen(string path, bool readOnly, int errno)
    {
        if (FileErrors.IsHostsFault(errno))
        {
            return new HostException($"--disk {path}: {Marshal.GetPInvokeErrorMessage(errno)}{FileErrors.Remedy(errno)}");
        }

        string remedy = errno switch
        {
            ErrnoException.ENOENT => $": make one, for instance: truncate -s 1G {path}",
            ErrnoException.EACCES or ErrnoException.EPERM or ErrnoException.EROFS or ErrnoException.ETXTBSY when !readOnly =>
                ": it cannot be written; add ',readonly' or change its permissions",
            _ => "",
        };
        return new UsageException($"--disk {path}: {Marshal.GetPInvokeErrorMessage(errno)}{remedy}");
    }

    /// <summary>Opens the same file again: by its descriptor, as the path may name another file by now.</summary>
    private static FileDescriptor OpenDirect(FileDescriptor fd, string path, int flags)
    {
        int number = LibC.open($"/proc/self/fd/{fd.Number}", flags | LibC.O_DIRECT, 0);
        return number >= 0
            ? new FileDescriptor(number)
            : throw new UsageException(
                $"--disk {path}: its file system cannot do cache=none "
                + $"({Marshal.GetPInvokeErrorMessage(Marshal.GetLastPInvokeError())}); leave it out");
    }

    private static unsafe void CheckKind(FileDescriptor fd, string path, bool readOnly)
    {
        mode_t kind = HostFile.Status(fd, path).Mode & LibC.S_IFMT;
        if (kind != LibC.S_IFREG && kind != LibC.S_IFBLK)
        {
            throw new UsageException($"--disk {path}: neither a file nor a block device");
        }

        // Linux opens a read-only block device for writing, and then fails each write (EPERM).
        int isReadOnly = 0;

        // SAFETY: BLKROGET writes an int.
        if (kind == LibC.S_IFBLK && !readOnly && LibC.ioctl(fd.Number, LibC.BLKROGET, &isReadOnly) == 0
            && isReadOnly != 0)
        {
            throw new UsageException($"--disk {path}: the block device is read-only; add ',readonly'");
        }
    }

    private static void Lock(FileDescriptor fd, string path, bool readOnly)
    {
        // A vmm that was killed may hold the file for some milliseconds more: the kernel releases an io_uring and its
        // registered files after the process has ended. (One that ends by itself unlocks: HostFile.Dispose.)
        const int PauseMilliseconds = 20;
        for (int left = 50; !FileLock.TryTake(fd, shared: readOnly); left--)
        {
            if (left == 0)
            {
                throw new UsageException(readOnly
                    ? $"--disk {path}: another machine writes to it; stop that first"
                    : $"--disk {path}: it is in use by another machine or disk; stop that, or add ',readonly' to all of them");
            }

            Thread.Sleep(PauseMilliseconds);
        }
    }
}

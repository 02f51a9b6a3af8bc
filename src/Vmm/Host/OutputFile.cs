using System.Runtime.InteropServices;
using Vmm.Boot;

namespace Vmm.Host;

/// <summary>A file that the user asked results to be written to. It is opened before anything starts, so that a mistyped
/// path does not cost a run; its old content is replaced only when there is a result to write; and it is locked, so that a disk
/// or kernel of this or another machine cannot be overwritten.</summary>
/// <remarks>Writing never throws: <see cref="Failure"/> tells at the end whether all of it is there. Not buffered.</remarks>
internal sealed unsafe class OutputFile : SequentialStream
{
    private const uint Everybody = 0x1b6;       // rw-rw-rw-, less the umask

    private readonly string _path;
    private readonly string _name;
    private readonly FileDescriptor _fd;
    private readonly bool _isNew;
    private readonly bool _isRegular;
    private bool _written;

    private OutputFile(string path, string name, FileDescriptor fd, bool isNew)
    {
        (_path, _name, _fd, _isNew) = (path, name, fd, isNew);
        _isRegular = (HostFile.Status(fd, path).Mode & LibC.S_IFMT) == LibC.S_IFREG;
    }

    /// <summary>Why the file is not complete, for a line to the user; null while all is well.</summary>
    public string? Failure { get; private set; }

    public override bool CanWrite => true;

    /// <param name="path">Made if it is not there.</param>
    /// <param name="option">The option that names it, for messages.</param>
    /// <exception cref="UsageException">It cannot be written.</exception>
    /// <exception cref="HostException">The host cannot open one file more.</exception>
    public static OutputFile Open(string path, string option)
    {
        int flags = LibC.O_WRONLY | LibC.O_CLOEXEC;
        string name = $"{option} {path}";
        int number = LibC.open(path, flags | LibC.O_CREAT | LibC.O_EXCL, Everybody);
        bool isNew = number >= 0;
        if (!isNew && Marshal.GetLastPInvokeError() == ErrnoException.EEXIST)
        {
            number = LibC.open(path, flags | LibC.O_CREAT, Everybody);
        }

        if (number < 0)
        {
            int errno = Marshal.GetLastPInvokeError();
            throw FileErrors.IsHostsFault(errno)
                ? new HostException($"{name}: {WhyNot(errno)}{FileErrors.Remedy(errno)}")
                : new UsageException($"{name}: {WhyNot(errno)}");
        }

        var file = new OutputFile(path, name, new FileDescriptor(number), isNew);
        if (file.Lock())
        {
            return file;
        }

        file.Dispose();
        throw new UsageException($"{name}: it is in use: a disk, a kernel, or another output; give another name");
    }

    /// <summary>Truncates the file, for a caller that writes to the descriptor itself.</summary>
    /// <returns>The descriptor, still owned by this object.</returns>
    public int BeginWriting()
    {
        _written = true;
        Check(_isRegular ? LibC.ftruncate(_fd.Number, 0) : 0);
        return _fd.Number;
    }

    public override void Write(ReadOnlySpan<byte> data)
    {
        if (!_written)
        {
            _written = true;
            Check(_isRegular ? LibC.ftruncate(_fd.Number, 0) : 0);
        }

        while (data.Length > 0 && Failure is null)
        {
            long count;
            fixed (byte* start = data)
            {
                // SAFETY: as many bytes as the span has.
                count = LibC.write(_fd.Number, start, data.Length);
            }

            Check(count);
            data = data[(int)Math.Max(count, 0)..];
        }
    }

    protected override void Dispose(bool disposing)
    {
        if (_isNew && !_written && !_fd.IsClosed)
        {
            _ = LibC.unlink(_path);     // nothing came of it
        }

        _fd.Dispose();
        base.Dispose(disposing);
    }

    private static string WhyNot(int errno) => errno switch
    {
        ErrnoException.ENOENT => "there is no such directory",
        ErrnoException.EACCES or ErrnoException.EPERM => "permission denied",
        ErrnoException.EISDIR => "is a directory",
        _ => Marshal.GetPInvokeErrorMessage(errno),
    };

    /// <summary>Both kinds of lock: kernels are opened by .NET, with flock(2). Devices and pipes have many writers.</summary>
    private bool Lock() => !_isRegular
        || ((LibC.flock(_fd.Number, LibC.LOCK_EX | LibC.LOCK_NB) == 0 || Marshal.GetLastPInvokeError() != ErrnoException.EAGAIN)
            && FileLock.TryTake(_fd, shared: false));

    private void Check(long result)
    {
        int errno = result < 0 ? Marshal.GetLastPInvokeError() : 0;
        if (errno is not (0 or ErrnoException.EINTR))
        {
            Failure = $"{_name}: {Marshal.GetPInvokeErrorMessage(errno)}: it is not complete";
        }
    }
}

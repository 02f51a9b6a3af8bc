using System.Runtime.InteropServices;
using Microsoft.Win32.SafeHandles;
using Vmm.Boot;

namespace Vmm.Host;

/// <summary>Owns one file descriptor.</summary>
internal sealed class FileDescriptor : SafeHandleMinusOneIsInvalid
{
    public FileDescriptor(int fd)
        : base(ownsHandle: true) => SetHandle(fd);

    /// <summary>The number. Its users keep this object alive (the machine holds all of them until its threads have
    /// ended).</summary>
    public int Number => (int)handle;

    /// <exception cref="ErrnoException">The file cannot be opened.</exception>
    public static FileDescriptor Open(string path, int flags) =>
        new(ErrnoException.Check(LibC.open(path, flags | LibC.O_CLOEXEC, 0), path));

    /// <summary>Another descriptor of the same file, which no program that is started from here gets.</summary>
    /// <param name="least">Its number is this one or a higher one.</param>
    /// <param name="name">The file's name, for the error.</param>
    /// <exception cref="ErrnoException">The process has too many.</exception>
    public static FileDescriptor Duplicate(int number, int least = 3, string name = "fcntl") =>
        new(ErrnoException.Check(LibC.fcntl(number, LibC.F_DUPFD_CLOEXEC, least), name));

    /// <summary>Duplicates a descriptor that this process was started with, and closes the original.</summary>
    /// <inheritdoc cref="Duplicate"/>
    public static FileDescriptor TakeOver(int number, int least)
    {
        FileDescriptor taken = Duplicate(number, least);
        _ = LibC.close(number);
        return taken;
    }

    /// <summary>Makes a file shorter or longer. .NET's own way takes EFBIG for a mistake of the program.</summary>
    /// <exception cref="IOException">The host cannot.</exception>
    public void SetLength(ulong length)
    {
        if (LibC.ftruncate(Number, (long)length) != 0)
        {
            int errno = Marshal.GetLastPInvokeError();
            throw new IOException(FileErrors.Describe(errno), errno);
        }
    }

    /// <summary>A handle for .NET's methods; valid while this object is open.</summary>
    public SafeFileHandle Borrow() => new(handle, ownsHandle: false);

    protected override bool ReleaseHandle() => LibC.close((int)handle) == 0;
}

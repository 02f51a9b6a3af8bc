using Microsoft.Win32.SafeHandles;

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
    public static FileDescriptor Open(string path, int flags, string? remedy = null) =>
        new(ErrnoException.Check(LibC.open(path, flags | LibC.O_CLOEXEC, 0), path, remedy));

    /// <summary>The same number for .NET's methods, for as long as this is open.</summary>
    public SafeFileHandle Borrow() => new(handle, ownsHandle: false);

    protected override bool ReleaseHandle() => LibC.close((int)handle) == 0;
}

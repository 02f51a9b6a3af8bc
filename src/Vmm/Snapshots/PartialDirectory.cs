using System.Runtime.InteropServices;
using Vmm.Boot;
using Vmm.Host;

namespace Vmm.Snapshots;

/// <summary>A directory that gets its name when it is complete and durable: until then it is called <c>NAME.partial</c>, and it
/// is removed if that fails. A partial directory of a killed vmm is reused.</summary>
internal sealed class PartialDirectory : IDisposable
{
    private const uint OwnerOnly = 0x1c0, OwnerOnlyFile = 0x180;        // rwx------, rw-------: guests have secrets

    private const string Suffix = ".partial";

    private readonly string _name;
    private readonly string _partial;
    private readonly FileDescriptor _lock;
    private readonly List<string> _files = [];
    private readonly bool _isDurable;
    private bool _isComplete;

    private PartialDirectory(string name, string partial, FileDescriptor locked, bool isDurable) =>
        (_name, _partial, _lock, _isDurable) = (name, partial, locked, isDurable);

    /// <summary>What it is called in the end.</summary>
    public string Name => _name;

    /// <param name="name">Must not exist.</param>
    /// <param name="isDurable">Nothing is lost with the host's power.</param>
    /// <exception cref="UsageException">It is there already, or cannot be made.</exception>
    /// <exception cref="HostException">The disk is full.</exception>
    public static PartialDirectory Create(string name, bool isDurable = true)
    {
        name = Path.TrimEndingDirectorySeparator(name);
        if (name is "" or "/")
        {
            throw new UsageException("the name of a directory is missing: it is made for the snapshot");
        }

        if (HostFile.TryStatus(name, out _))
        {
            throw new UsageException($"{name}: is there already; give another name, or remove it first");
        }

        string partial = name + Suffix;
        if (LibC.mkdir(partial, OwnerOnly) != 0 && Marshal.GetLastPInvokeError() is not ErrnoException.EEXIST and int errno)
        {
            throw CannotMake(partial, errno);
        }

        int number = LibC.open(partial, LibC.O_RDONLY | LibC.O_DIRECTORY | LibC.O_CLOEXEC, 0);
        if (number < 0)
        {
            throw CannotMake(partial, Marshal.GetLastPInvokeError());
        }

        var directory = new PartialDirectory(name, partial, new FileDescriptor(number), isDurable);
        if (LibC.flock(number, LibC.LOCK_EX | LibC.LOCK_NB) != 0)
        {
            directory._lock.Dispose();
            throw new UsageException($"{name}: another snapshot is being written there");
        }

        // Its files are incomplete.
        directory._files.AddRange(Directory.EnumerateFiles(partial).Select(static path => Path.GetFileName(path)));
        directory.RemoveFiles();
        return directory;
    }

    /// <summary>Is it one that another vmm writes to now, and not what a killed one left?</summary>
    public static bool IsBeingWritten(string directory)
    {
        int number = directory.EndsWith(Suffix, StringComparison.Ordinal) ? LibC.open(directory, LibC.O_RDONLY | LibC.O_DIRECTORY | LibC.O_CLOEXEC, 0) : -1;
        if (number < 0)
        {
            return false;
        }

        using var file = new FileDescriptor(number);
        return LibC.flock(number, LibC.LOCK_SH | LibC.LOCK_NB) != 0;
    }

    /// <summary>A new file in it, for its owner only.</summary>
    /// <exception cref="HostException">The host refused.</exception>
    public FileDescriptor CreateFile(string name)
    {
        string path = Path.Combine(_partial, name);
        _files.Add(name);
        int number = LibC.open(path, LibC.O_RDWR | LibC.O_CREAT | LibC.O_EXCL | LibC.O_CLOEXEC, OwnerOnlyFile);
        return number >= 0 ? new FileDescriptor(number) : throw Failed(path, Marshal.GetLastPInvokeError());
    }

    /// <summary>A new file with that content, durable.</summary>
    /// <inheritdoc cref="CreateFile(string)"/>
    public void CreateFile(string name, ReadOnlySpan<byte> content)
    {
        using FileDescriptor file = CreateFile(name);
        using Microsoft.Win32.SafeHandles.SafeFileHandle handle = file.Borrow();
        RandomAccess.Write(handle, content, 0);
        Sync(file, name);
    }

    /// <summary>Waits until a file of it is on the disk.</summary>
    /// <inheritdoc cref="CreateFile(string)"/>
    public void Sync(FileDescriptor file, string name)
    {
        if (_isDurable && LibC.fdatasync(file.Number) != 0)
        {
            throw Failed(Path.Combine(_partial, name), Marshal.GetLastPInvokeError());
        }
    }

    /// <summary>Gives it its name. Its files are durable.</summary>
    /// <inheritdoc cref="CreateFile(string)"/>
    /// <exception cref="UsageException">Another process made one of that name meanwhile.</exception>
    public void Complete()
    {
        Sync(_lock, "");
        if (LibC.rename(_partial, _name) != 0)
        {
            int errno = Marshal.GetLastPInvokeError();
            throw errno == LibC.EEXIST || errno == LibC.ENOTEMPTY || errno == LibC.ENOTDIR
                ? new UsageException($"{_name}: is there already; give another name, or remove it first")
                : Failed(_name, errno);
        }

        _isComplete = true;
        string parent = Path.GetDirectoryName(_name) is { Length: > 0 } above ? above : _name.StartsWith('/') ? "/" : ".";
        using FileDescriptor directory = FileDescriptor.Open(parent, LibC.O_RDONLY | LibC.O_DIRECTORY);
        _ = _isDurable ? LibC.fdatasync(directory.Number) : 0;
    }

    public void Dispose()
    {
        if (!_isComplete)
        {
            RemoveFiles();
            _ = LibC.rmdir(_partial);
        }

        _lock.Dispose();
    }

    private static Exception CannotMake(string path, int errno) => FileErrors.IsHostsFault(errno)
        ? new HostException($"{path}: {FileErrors.Describe(errno)}")
        : new UsageException($"{path}: {FileErrors.Describe(errno)}");

    private static HostException Failed(string path, int errno) => new($"{path}: {FileErrors.Describe(errno)}: the snapshot was not made");

    private void RemoveFiles()
    {
        foreach (string name in _files)
        {
            _ = LibC.unlink(Path.Combine(_partial, name));
        }

        _files.Clear();
    }
}

using System.Runtime.InteropServices;
using Vmm.Boot;
using Vmm.Host;

namespace Vmm.Snapshots;

/// <summary>A directory that gets its name when it is complete and durable: until then it is called <c>NAME.partial</c>, and it
/// is removed if that fails. A partial directory of a killed vmm is reused: one of this user's with nothing in it but files of a
/// snapshot. Whatever else has that name is left as it is.</summary>
internal sealed class PartialDirectory : IDisposable
{
    private const uint OwnerOnly = 0x1c0, OwnerOnlyFile = 0x180;        // rwx------, rw-------: guests have secrets
    private const uint OthersMay = 0x3f;

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
        if (LibC.mkdir(partial, OwnerOnly) != 0 && Marshal.GetLastPInvokeError() is var errno and not ErrnoException.EEXIST)
        {
            throw CannotMake(partial, errno);
        }

        int number = LibC.open(partial, LibC.O_RDONLY | LibC.O_DIRECTORY | LibC.O_NOFOLLOW | LibC.O_CLOEXEC, 0);
        if (number < 0)
        {
            errno = Marshal.GetLastPInvokeError();
            throw errno == LibC.ENOTDIR || errno == LibC.ELOOP ? InTheWay(partial) : CannotMake(partial, errno);
        }

        var directory = new PartialDirectory(name, partial, new FileDescriptor(number), isDurable);
        try
        {
            directory.TakeOver();
            return directory;
        }
        catch
        {
            directory._lock.Dispose();
            throw;
        }
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

    /// <summary>Locks it, and empties it of what a killed vmm left.</summary>
    private void TakeOver()
    {
        Statx status = HostFile.Status(_lock, _partial);
        if (status.UserId != LibC.geteuid() || (status.Mode & OthersMay) != 0)
        {
            throw InTheWay(_partial);
        }

        // Whoever had the lock before may have given the directory its name.
        if (LibC.flock(_lock.Number, LibC.LOCK_EX | LibC.LOCK_NB) != 0 || !HostFile.TryStatus(_partial, out Statx there, LibC.AT_SYMLINK_NOFOLLOW)
            || !there.IsSameFile(status))
        {
            throw new UsageException($"{_name}: another snapshot is being written there");
        }

        string[] names = [.. Directory.EnumerateFileSystemEntries(_partial).Select(static path => Path.GetFileName(path))];
        if (!names.All(SnapshotFiles.IsOne))
        {
            throw InTheWay(_partial);
        }

        _files.AddRange(names);     // incomplete
        RemoveFiles();
    }

    private static UsageException InTheWay(string partial) => new(
        $"{partial}: is in the way, and no unfinished snapshot of this user's; remove it, or give another name");

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

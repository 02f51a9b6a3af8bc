using System.Runtime.InteropServices;
using System.Text;
using Vmm.Boot;

namespace Vmm.Host;

/// <summary>A socket that listens at a path, and its file. The file is deleted with it; one that a killed process left is
/// replaced.</summary>
internal sealed class SocketName : IDisposable
{
    private readonly string _path;
    private readonly FileDescriptor _socket;
    private readonly ulong _inode;
    private FileDescriptor? _spare;

    private SocketName(string path, FileDescriptor socket)
    {
        _path = path;
        _socket = socket;
        _inode = Find(path).Inode;
        _spare = Spare();
    }

    public int Number => _socket.Number;

    /// <summary>The next connection; null when there is none.</summary>
    /// <remarks>Where this process has no descriptor left, a reserved one accepts the connection and closes it: otherwise it
    /// would stay pending, and the event loop would report it for ever.</remarks>
    public FileDescriptor? Accept()
    {
        FileDescriptor? connection = UnixSocket.Accept(_socket, out int errno);
        if (errno is ErrnoException.EMFILE or ErrnoException.ENFILE)
        {
            _spare?.Dispose();
            UnixSocket.Accept(_socket, out _)?.Dispose();
            _spare = Spare();
        }

        return connection;
    }

    /// <summary>Connects to the program that listens there, or listens if there is none.</summary>
    /// <returns>0, or why neither is possible: EAGAIN when it may be soon.</returns>
    public static int TryJoin(string path, ref FileDescriptor? connection, ref SocketName? name)
    {
        if (Encoding.UTF8.GetByteCount(path) > UnixSocket.MostPathBytes)
        {
            return ErrnoException.ENAMETOOLONG;
        }

        int errno = TryConnect(path, ref connection);
        if (errno is not (ErrnoException.ENOENT or ErrnoException.ECONNREFUSED))
        {
            return errno;
        }

        // Between finding a dead socket and creating the new one no other process may do the same: the directory is locked
        // meanwhile. Where it cannot be read there is no lock.
        string directory = Path.GetDirectoryName(Path.GetFullPath(path))!;
        int number = LibC.open(directory, LibC.O_RDONLY | LibC.O_DIRECTORY | LibC.O_CLOEXEC, 0);
        using var locked = new FileDescriptor(number);
        if (number >= 0 && LibC.flock(number, LibC.LOCK_EX | LibC.LOCK_NB) != 0)
        {
            return ErrnoException.EAGAIN;
        }

        errno = TryConnect(path, ref connection);
        if (errno == ErrnoException.ECONNREFUSED)
        {
            if ((Find(path).Mode & LibC.S_IFMT) != LibC.S_IFSOCK)
            {
                return ErrnoException.EEXIST;
            }

            _ = LibC.unlink(path);      // if that fails, so does bind
        }

        return errno is ErrnoException.ENOENT or ErrnoException.ECONNREFUSED ? TryListen(path, ref name) : errno;
    }

    /// <summary>Listens at a path that no other program listens at.</summary>
    /// <param name="option">With its value, for the message.</param>
    /// <exception cref="UsageException">The path cannot be used.</exception>
    public static SocketName Listen(string option, string path)
    {
        FileDescriptor? other = null;
        SocketName? name = null;
        int errno = TryJoin(path, ref other, ref name);
        if (other is not null)
        {
            other.Dispose();
            throw new UsageException($"{option}: a program listens there already; give another path");
        }

        return name ?? throw CannotUse(option, path, errno);
    }

    public static UsageException CannotUse(string option, string path, int errno) => new(errno switch
    {
        ErrnoException.ENAMETOOLONG => $"{option}: a path of more than {UnixSocket.MostPathBytes} bytes; give a shorter one",
        ErrnoException.EEXIST => $"{option}: {path} is there, and is no socket; give another path",
        ErrnoException.ENOENT => $"{option}: there is no such directory; make it, or give another path",
        ErrnoException.EACCES or ErrnoException.EPERM =>
            $"{option}: permission denied; give a path in a directory that can be written",
        _ => $"{option}: {Marshal.GetPInvokeErrorMessage(errno)}",
    });

    public void Dispose()
    {
        // Deletes the file only if it is still this socket's.
        if (_inode != 0 && Find(_path).Inode == _inode)
        {
            _ = LibC.unlink(_path);
        }

        _spare?.Dispose();
        _socket.Dispose();
    }

    /// <returns>Null where none can be opened.</returns>
    private FileDescriptor? Spare()
    {
        int number = LibC.fcntl(_socket.Number, LibC.F_DUPFD_CLOEXEC, 0);
        return number < 0 ? null : new FileDescriptor(number);
    }

    private static int TryConnect(string path, ref FileDescriptor? connection)
    {
        FileDescriptor socket = UnixSocket.Create();
        int errno = UnixSocket.Connect(socket, path);
        if (errno == 0)
        {
            connection = socket;
        }
        else
        {
            socket.Dispose();
        }

        return errno;
    }

    private static int TryListen(string path, ref SocketName? name)
    {
        FileDescriptor socket = UnixSocket.Create();
        int errno = UnixSocket.Listen(socket, path);
        if (errno == 0)
        {
            name = new SocketName(path, socket);
        }
        else
        {
            socket.Dispose();
        }

        return errno;
    }

    /// <summary>statx(2); all zero where there is nothing.</summary>
    private static Statx Find(string path) => HostFile.TryStatus(path, out Statx status) ? status : default;
}

using System.Runtime.InteropServices;
using Tmds.Linux;
using Vmm.Boot;

namespace Vmm.Host;

/// <summary>Stream sockets with a name in the file system. None of them blocks.</summary>
internal static unsafe class UnixSocket
{
    private static int Type => LibC.SOCK_STREAM | LibC.SOCK_CLOEXEC | LibC.SOCK_NONBLOCK;

    /// <summary>Bytes that a name may have.</summary>
    public const int MostPathBytes = 108 - 1;

    public static FileDescriptor Create() =>
        new(ErrnoException.Check(LibC.socket(LibC.AF_UNIX, Type, 0), "socket"));

    /// <summary>Two that are connected to each other.</summary>
    public static (FileDescriptor Ours, FileDescriptor Theirs) CreatePair()
    {
        int* pair = stackalloc int[2];

        // SAFETY: room for two numbers on this stack.
        ErrnoException.Check(LibC.socketpair(LibC.AF_UNIX, LibC.SOCK_STREAM | LibC.SOCK_CLOEXEC, 0, pair), "socketpair");
        var ours = new FileDescriptor(pair[0]);
        var theirs = new FileDescriptor(pair[1]);
        ErrnoException.Check(LibC.fcntl(ours.Number, LibC.F_SETFL, LibC.O_RDWR | LibC.O_NONBLOCK), "fcntl");
        return (ours, theirs);
    }

    /// <summary>A listening socket, for a program that accepts one connection, and that connection. The listening one blocks,
    /// as programs expect. No other program can connect: the name is in a directory of this user only, and is deleted before
    /// this returns.</summary>
    /// <exception cref="ErrnoException">There is no directory for the name.</exception>
    public static (FileDescriptor Ours, FileDescriptor Listening) CreateAccepting()
    {
        string directory = MakePrivateDirectory();
        string path = $"{directory}/s";
        FileDescriptor ours = Create(), listening = Create();
        try
        {
            int errno = Listen(listening, path);
            errno = errno != 0 ? errno : Connect(ours, path);
            return errno == 0
                && (errno = LibC.fcntl(listening.Number, LibC.F_SETFL, LibC.O_RDWR)) == 0
                    ? (ours, listening)
                    : throw new ErrnoException($"socket {path}", errno);
        }
        catch
        {
            ours.Dispose();
            listening.Dispose();
            throw;
        }
        finally
        {
            Directory.Delete(directory, recursive: true);
        }
    }

    /// <returns>0, or the errno: ENOENT or ECONNREFUSED when no program listens there.</returns>
    public static int Connect(FileDescriptor socket, string path)
    {
        sockaddr_un address = AddressOf(path);

        // SAFETY: a struct on this stack.
        return LibC.connect(socket.Number, (sockaddr*)&address, sizeof(sockaddr_un)) == 0 ? 0 : Marshal.GetLastPInvokeError();
    }

    /// <summary>Makes the name and listens.</summary>
    /// <returns>0, or the errno.</returns>
    public static int Listen(FileDescriptor socket, string path)
    {
        const int Backlog = 4;
        sockaddr_un address = AddressOf(path);

        // SAFETY: as above.
        return LibC.bind(socket.Number, (sockaddr*)&address, sizeof(sockaddr_un)) == 0
            && LibC.listen(socket.Number, Backlog) == 0
                ? 0
                : Marshal.GetLastPInvokeError();
    }

    private static string MakePrivateDirectory()
    {
        try
        {
            return Directory.CreateTempSubdirectory("vmm-").FullName;      // mode 0700
        }
        catch (Exception error) when (error is IOException or UnauthorizedAccessException)
        {
            throw new HostException($"no directory for a socket: {error.Message}; TMPDIR names another place");
        }
    }

    /// <summary>Takes the next connection; null when there is none.</summary>
    /// <param name="errno">Why there is none: EAGAIN, or EMFILE and ENFILE where there is one and no descriptor for it.</param>
    public static FileDescriptor? Accept(FileDescriptor listener, out int errno)
    {
        int number = LibC.accept4(listener.Number, null, null, LibC.SOCK_CLOEXEC | LibC.SOCK_NONBLOCK);
        errno = number < 0 ? Marshal.GetLastPInvokeError() : 0;
        return number < 0 ? null : new FileDescriptor(number);
    }

    /// <summary>Is who connected this process's user, or root? As of when it connected (SO_PEERCRED, unix(7)).</summary>
    public static bool IsPeerTrusted(FileDescriptor connection) =>
        PeerOf(connection) is { } peer && ((uint)peer.uid == 0 || peer.uid == LibC.geteuid());

    /// <summary>The process that listens at a path.</summary>
    /// <returns>Null where none does, or it has no room for a connection.</returns>
    public static int? ListenerAt(string path)
    {
        using FileDescriptor socket = Create();
        return Connect(socket, path) == 0 && PeerOf(socket) is { } peer ? peer.pid : null;
    }

    private static ucred? PeerOf(FileDescriptor connection)
    {
        ucred peer;
        socklen_t length = sizeof(ucred);

        // SAFETY: a struct on this stack, and its length.
        return LibC.getsockopt(connection.Number, LibC.SOL_SOCKET, LibC.SO_PEERCRED, &peer, &length) == 0 ? peer : null;
    }

    /// <param name="path">Up to <see cref="MostPathBytes"/> bytes of UTF-8.</param>
    private static sockaddr_un AddressOf(string path)
    {
        var address = new sockaddr_un { sun_family = LibC.AF_UNIX };

        // SAFETY: CopyTo throws rather than pass the end, and the last byte stays 0.
        FileNames.ToBytes(path).CopyTo(new Span<byte>(address.sun_path, MostPathBytes));
        return address;
    }
}

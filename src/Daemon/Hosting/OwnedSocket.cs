using System.Net.Sockets;

namespace Vmm.Daemon.Hosting;

/// <summary>The right to a socket's name: of two vmmd only one has it, and what a killed one left there is removed. The lock is
/// flock(2)'s on a file beside it, which ends with the process, however that ends.</summary>
internal sealed class OwnedSocket : IDisposable
{
    private readonly string _path;
    private readonly FileStream _lock;

    /// <exception cref="ConfigurationException">Another vmmd has it, or something else is there.</exception>
    /// <exception cref="IOException">The directory cannot be made or written to.</exception>
    public OwnedSocket(string path)
    {
        _path = path;
        Directory.CreateDirectory(
            Path.GetDirectoryName(path)!, UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute
                | UnixFileMode.GroupRead | UnixFileMode.GroupExecute | UnixFileMode.OtherRead | UnixFileMode.OtherExecute);
        try
        {
            _lock = new FileStream(path + ".lock", new FileStreamOptions
            {
                Mode = FileMode.OpenOrCreate,
                Access = FileAccess.ReadWrite,
                Share = FileShare.None,
                UnixCreateMode = UnixFileMode.UserRead | UnixFileMode.UserWrite,
            });
        }
        catch (IOException error) when (error is not (DirectoryNotFoundException or FileNotFoundException) && IsLocked(error))
        {
            throw new ConfigurationException($"{path}: another vmmd listens there; give another path by --socket");
        }

        try
        {
            if (File.Exists(path))
            {
                if (!IsSocket(path))
                {
                    throw new ConfigurationException($"{path}: is there, and no socket; give another path by --socket");
                }

                if (IsAnswering(path))
                {
                    throw new ConfigurationException($"{path}: another program listens there; give another path by --socket");
                }

                File.Delete(path);
            }
        }
        catch
        {
            _lock.Dispose();
            throw;
        }
    }

    /// <summary>Lets those connect that are to. Until now it was this user alone: bind(2) takes the umask off, and vmmd's has the
    /// others' right to write in it.</summary>
    /// <param name="mode">Octal.</param>
    public void Open(string mode)
    {
        if (DaemonOptionsValidator.TryParseMode(mode, out UnixFileMode allowed))
        {
            File.SetUnixFileMode(_path, allowed);
        }
    }

    public void Dispose() => _lock.Dispose();

    // EWOULDBLOCK of flock(2), which .NET gives as it is.
    private static bool IsLocked(IOException error) => error.HResult == 11;

    private static bool IsSocket(string path) =>
        !File.GetAttributes(path).HasFlag(FileAttributes.Directory) && new FileInfo(path).LinkTarget is null
        && new FileInfo(path).Length == 0;

    private static bool IsAnswering(string path)
    {
        using var probe = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
        try
        {
            probe.Connect(new UnixDomainSocketEndPoint(path));
            return true;
        }
        catch (SocketException)
        {
            return false;
        }
    }
}

using Vmm.Devices.Virtio;
using Vmm.Devices.Virtio.Vhost;
using Vmm.Host;

namespace Vmm.Backends.VhostUser;

/// <summary>Disks that programs of the user's serve at Unix sockets (<c>--vhost-user-blk SOCKET</c>).</summary>
internal sealed class VhostUserDisks(EventLoop loop, MemoryTable memory, IDeviceLog log) : IDisposable
{
    private const int Queues = 1;
    private static readonly TimeSpan Patience = TimeSpan.FromSeconds(10);

    private readonly List<(string Path, VhostUserBackend Backend, VhostBlock Device)> _disks = [];

    /// <summary>Connects to one.</summary>
    /// <exception cref="UsageException">Nobody listens there.</exception>
    public VhostBlock Open(string path)
    {
        FileDescriptor socket = UnixSocket.Create();
        if (UnixSocket.Connect(socket, path) is var errno && errno != 0)
        {
            socket.Dispose();
            throw new UsageException(
                $"--vhost-user-blk {new ErrnoException(path, errno, "start the program that serves the disk first").Message}");
        }

        string name = $"vhost-blk{_disks.Count}";
        var backend = new VhostUserBackend(
            socket, loop, memory, Patience, fault => log.Warn(name, $"{path}: {fault}; the guest gets I/O errors"));
        var device = new VhostBlock(name, backend);
        _disks.Add((path, backend, device));
        return device;
    }

    /// <summary>Asks all programs what they can, and how large their disks are.</summary>
    /// <exception cref="HostException">One does not answer as it should.</exception>
    public void WaitUntilReady()
    {
        Span<byte> config = stackalloc byte[VhostBlock.ConfigBytes];
        foreach ((string path, VhostUserBackend backend, VhostBlock device) in _disks)
        {
            try
            {
                backend.Greet(Queues);
                if (!backend.Protocol.HasFlag(VhostUserProtocolFeatures.Config))
                {
                    throw new VhostUserException("it does not tell how large its disk is (CONFIG)");
                }

                backend.ReadConfig(config);
                device.SetConfig(config);
            }
            catch (VhostUserException error)
            {
                throw new HostException($"--vhost-user-blk {path}: {error.Message}");
            }
        }
    }

    public void Dispose() => _disks.ForEach(static disk => disk.Backend.Dispose());
}

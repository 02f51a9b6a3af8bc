using Vmm.Devices.Virtio;
using Vmm.Devices.Virtio.Vhost;
using Vmm.Host;

namespace Vmm.Backends.VhostUser;

/// <summary>Disks and network cards that programs of the user's serve at Unix sockets (<c>--vhost-user-blk SOCKET</c>,
/// <c>--vhost-user-net SOCKET</c>).</summary>
internal sealed class ServedDevices(EventLoop loop, MemoryTable memory, IDeviceLog log) : IDisposable
{
    private const int DiskQueues = 1, NetQueues = 2;
    private static readonly TimeSpan Patience = TimeSpan.FromSeconds(10);

    private readonly List<(string Path, VhostUserBackend Backend, VhostBlock Device)> _disks = [];
    private readonly List<(string Path, VhostUserBackend Backend)> _nets = [];

    /// <summary>Connects to a disk.</summary>
    /// <exception cref="UsageException">No program listens there.</exception>
    public VhostBlock OpenDisk(string path)
    {
        string name = $"vhost-blk{_disks.Count}";
        VhostUserBackend backend = Connect("--vhost-user-blk", path, "the disk", name, "the guest gets I/O errors");
        var device = new VhostBlock(name, backend);
        _disks.Add((path, backend, device));
        return device;
    }

    /// <summary>Connects to a network.</summary>
    /// <param name="mac">The card's address.</param>
    /// <exception cref="UsageException">No program listens there.</exception>
    public VhostNet OpenNet(string path, ReadOnlySpan<byte> mac)
    {
        string name = $"vhost-net{_nets.Count}";
        VhostUserBackend backend = Connect("--vhost-user-net", path, "the network", name, "the guest sees the cable out");
        _nets.Add((path, backend));
        return new VhostNet(name, mac, backend);
    }

    /// <summary>Asks all programs for their features, and for the size of their disks.</summary>
    /// <exception cref="HostException">One does not answer as it should.</exception>
    public void WaitUntilReady()
    {
        foreach ((string path, VhostUserBackend backend, VhostBlock device) in _disks)
        {
            Await($"--vhost-user-blk {path}", () => Greet(backend, device));
        }

        foreach ((string path, VhostUserBackend backend) in _nets)
        {
            Await($"--vhost-user-net {path}", () => backend.Greet(NetQueues));
        }
    }

    public void Dispose()
    {
        _disks.ForEach(static disk => disk.Backend.Dispose());
        _nets.ForEach(static net => net.Backend.Dispose());
    }

    private VhostUserBackend Connect(string option, string path, string what, string name, string consequence)
    {
        FileDescriptor socket = UnixSocket.Create();
        if (UnixSocket.Connect(socket, path) is var errno && errno != 0)
        {
            socket.Dispose();
            throw new UsageException(
                $"{option} {new ErrnoException(path, errno, $"start the program that serves {what} first").Message}");
        }

        return new VhostUserBackend(socket, loop, memory, Patience, fault => log.Warn(name, $"{path}: {fault}; {consequence}"));
    }

    private static void Greet(VhostUserBackend backend, VhostBlock device)
    {
        backend.Greet(DiskQueues);
        if (!backend.Protocol.HasFlag(VhostUserProtocolFeatures.Config))
        {
            throw new VhostUserException("it does not tell how large its disk is (CONFIG)");
        }

        Span<byte> config = stackalloc byte[VhostBlock.ConfigBytes];
        backend.ReadConfig(config);
        device.SetConfig(config);
    }

    private static void Await(string what, Action greet)
    {
        try
        {
            greet();
        }
        catch (VhostUserException error)
        {
            throw new HostException($"{what}: {error.Message}");
        }
    }
}

using Vmm.Backends.Sockets;
using Vmm.Devices.Virtio;
using Vmm.Devices.Virtio.Vsock;
using Vmm.Host;

namespace Vmm.Backends.Agent;

/// <summary>Connects the agent to this process, without a name in the file system, which could collide or be left behind. All
/// other ports go where the user's --vsock leads.</summary>
/// <param name="others">Null without --vsock: other ports are refused.</param>
/// <param name="agent">One end of a socket pair, for the first connection to the agent's port: it comes from process 1. Does
/// not block; owned from now on.</param>
internal sealed class AgentSockets(EventLoop loop, IVsockHost? others, FileDescriptor agent) : IVsockHost, IDisposable
{
    private FileDescriptor? _waiting = agent;
    private VsockSocket? _open;

    /// <summary>The guest's connections are gone, and its agent connects again. While the loop is held.</summary>
    /// <param name="next">As the first one.</param>
    public void BeginAgain(FileDescriptor next)
    {
        _open?.Dispose();
        Interlocked.Exchange(ref _waiting, next)?.Dispose();
    }

    public void Attach(IVsockDevice device) => others?.Attach(device);

    public IVsockPeer? Connect(uint port)
    {
        if (port != AgentProtocol.Port)
        {
            return others?.Connect(port);
        }

        if (Interlocked.Exchange(ref _waiting, null) is not { } socket)
        {
            return null;
        }

        _open = new VsockSocket(loop, new ConnectedSocket(socket), greets: false, _ => { });
        return _open;
    }

    /// <summary>After the loop and the vCPUs have stopped.</summary>
    public void Dispose()
    {
        _open?.Dispose();
        _waiting?.Dispose();
    }
}

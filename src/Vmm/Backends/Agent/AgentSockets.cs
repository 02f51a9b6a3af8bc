using Vmm.Backends.Sockets;
using Vmm.Devices.Virtio;
using Vmm.Devices.Virtio.Vsock;
using Vmm.Host;

namespace Vmm.Backends.Agent;

/// <summary>Leads the agent's connection into this process: no name in the file system, so nothing to collide with and
/// nothing to leave behind. All other ports lead where the user said.</summary>
/// <param name="others">Null where the user said nothing: they are refused.</param>
/// <param name="agent">One end of a pair; handed to the first who connects to the agent's port, which is process 1. Does
/// not block; owned from now on.</param>
internal sealed class AgentSockets(EventLoop loop, IVsockHost? others, FileDescriptor agent) : IVsockHost, IDisposable
{
    private FileDescriptor? _waiting = agent;
    private VsockSocket? _open;

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

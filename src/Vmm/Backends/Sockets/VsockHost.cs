using Vmm.Devices.Virtio;
using Vmm.Devices.Virtio.Vsock;
using Vmm.Host;

namespace Vmm.Backends.Sockets;

/// <summary>Connects the guest's sockets to Unix sockets of the host, with the paths and the handshake that Firecracker
/// introduced: the guest's connection to port N of the host goes to the program that listens at <c>PATH_N</c>; a program that
/// wants port N of the guest connects to <c>PATH</c>, writes <c>CONNECT N</c> and a newline, and is answered <c>OK M</c> with a
/// port of the host's own, once the guest has accepted.</summary>
internal sealed class VsockHost : IVsockHost, IDisposable
{
    private const int MostRequests = 64;

    private readonly EventLoop _loop;
    private readonly VsockSpec _spec;
    private readonly SocketName _name;
    private readonly Interest _listening;
    private readonly LinkedList<VsockRequest> _requests = [];   // the oldest first; on the loop's thread
    private readonly HashSet<VsockSocket> _sockets = [];        // guarded by itself: the guest's resets come from its vCPUs
    private IVsockDevice _device = null!;

    /// <summary>Before the loop starts.</summary>
    /// <exception cref="UsageException">The path cannot be used.</exception>
    public VsockHost(EventLoop loop, VsockSpec spec)
    {
        _name = SocketName.Listen($"--vsock {spec.Path}", spec.Path);
        (_loop, _spec) = (loop, spec);
        _listening = new Interest(loop, _name.Number, LibC.EPOLLIN, _ => AcceptRequest());
    }

    public void Attach(IVsockDevice device) => _device = device;

    public IVsockPeer? Connect(uint port)
    {
        try
        {
            FileDescriptor socket = UnixSocket.Create();
            if (UnixSocket.Connect(socket, _spec.PathOf(port)) == 0)
            {
                return Open(new ConnectedSocket(socket), greets: false);
            }

            socket.Dispose();
        }
        catch (ErrnoException)
        {
            // No descriptor is left: the connection is refused, the machine continues.
        }

        return null;
    }

    /// <summary>After the loop and the vCPUs have stopped.</summary>
    public void Dispose()
    {
        _listening.Dispose();
        _name.Dispose();
        foreach (VsockRequest request in _requests)
        {
            request.Dispose();
        }

        foreach (VsockSocket socket in (VsockSocket[])[.. _sockets])
        {
            socket.Dispose();       // which removes it from the set
        }
    }

    private VsockSocket Open(ConnectedSocket socket, bool greets)
    {
        var opened = new VsockSocket(_loop, socket, greets, Closed);
        lock (_sockets)
        {
            _sockets.Add(opened);
        }

        return opened;
    }

    private void Closed(VsockSocket socket)
    {
        lock (_sockets)
        {
            _sockets.Remove(socket);
        }
    }

    private void AcceptRequest()
    {
        if (_name.Accept() is not { } socket)
        {
            return;
        }

        // Programs that send no request must not block others: the oldest of them is disconnected.
        if (_requests.Count == MostRequests)
        {
            VsockRequest oldest = _requests.First!.Value;
            _requests.RemoveFirst();
            oldest.Dispose();
        }

        _requests.AddLast(new VsockRequest(_loop, new ConnectedSocket(socket), Answer));
    }

    private void Answer(VsockRequest request, uint? port)
    {
        _requests.Remove(request);
        ConnectedSocket socket = request.Release();
        if (port is not { } wanted)
        {
            socket.Dispose();
            return;
        }

        VsockSocket opened = Open(socket, greets: true);
        if (!_device.Connect(opened, wanted))
        {
            opened.Dispose();
        }
    }
}

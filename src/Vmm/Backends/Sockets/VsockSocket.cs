using System.Globalization;
using System.Text;
using Vmm.Devices.Virtio;
using Vmm.Devices.Virtio.Vsock;
using Vmm.Host;

namespace Vmm.Backends.Sockets;

/// <summary>A Unix socket that is the host's end of a connection of the guest.</summary>
/// <param name="socket">Owned from now on.</param>
/// <param name="greets">Its program asked for a port and waits for the answer <c>OK</c>.</param>
/// <param name="closed">Called when it is closed.</param>
internal sealed class VsockSocket(EventLoop loop, ConnectedSocket socket, bool greets, Action<VsockSocket> closed) : IVsockPeer
{
    private IVsockConnection? _connection;
    private Interest? _interest;
    private bool _isClosed;

    public void Attach(IVsockConnection connection)
    {
        _connection = connection;
        _interest = new Interest(loop, socket.Number, 0, Ready);
    }

    public void Accepted(uint port)
    {
        if (greets)
        {
            // Nothing was sent yet, so the socket takes it; if its program has closed it, epoll reports that.
            _ = socket.Send(Encoding.ASCII.GetBytes(string.Create(CultureInfo.InvariantCulture, $"OK {port}\n")));
        }
    }

    public int Send(ReadOnlySpan<IoVector> data) => socket.Send(data);

    public int Receive(ReadOnlySpan<IoVector> buffers) => socket.Receive(buffers);

    public int Peek() => socket.Peek();

    public void Want(bool receive, bool send)
    {
        _interest!.Set(LibC.EPOLLIN, receive);
        _interest.Set(LibC.EPOLLOUT, send);
    }

    public void EndSend() => socket.EndSend();

    public void Dispose()
    {
        if (!_isClosed)
        {
            _isClosed = true;
            _interest?.Dispose();
            socket.Dispose();
            closed(this);
        }
    }

    private void Ready(int events)
    {
        if ((events & LibC.EPOLLOUT) != 0)
        {
            _connection!.SendReady();
        }

        if ((events & LibC.EPOLLIN) != 0)
        {
            _connection!.ReceiveReady();
        }
        else if ((events & (LibC.EPOLLHUP | LibC.EPOLLERR)) != 0)
        {
            // Errors would be reported again and again: the rest is read when the guest has credit for it.
            _interest!.Dispose();
            _connection!.HungUp();
        }
    }
}

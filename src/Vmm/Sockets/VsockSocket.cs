using System.Globalization;
using System.Runtime.InteropServices;
using System.Text;
using Vmm.Devices.Virtio;
using Vmm.Host;

namespace Vmm.Sockets;

/// <summary>A Unix socket at the host's end of a connection of the guest's.</summary>
internal sealed unsafe class VsockSocket : IVsockPeer
{
    private readonly EventLoop _loop;
    private readonly FileDescriptor _socket;
    private readonly bool _greets;
    private readonly Action<VsockSocket> _closed;
    private IVsockConnection? _connection;
    private Interest? _interest;
    private bool _isClosed;

    /// <param name="socket">Connected, does not block; owned from now on.</param>
    /// <param name="greets">Its program asked for a port and waits to hear that the guest accepted.</param>
    /// <param name="closed">Hears of the end.</param>
    public VsockSocket(EventLoop loop, FileDescriptor socket, bool greets, Action<VsockSocket> closed)
    {
        _loop = loop;
        _socket = socket;
        _greets = greets;
        _closed = closed;
    }

    public void Attach(IVsockConnection connection)
    {
        _connection = connection;
        _interest = new Interest(_loop, _socket.Number, 0, Ready);
    }

    public void Accepted(uint port)
    {
        if (_greets)
        {
            byte[] greeting = Encoding.ASCII.GetBytes(string.Create(CultureInfo.InvariantCulture, $"OK {port}\n"));
            fixed (byte* start = greeting)
            {
                // The socket is empty, so there is room; if its program is gone, that is reported.
                _ = LibC.Write(_socket.Number, start, (nuint)greeting.Length);
            }
        }
    }

    public int Send(ReadOnlySpan<IoVector> data)
    {
        fixed (IoVector* vectors = data)
        {
            // SAFETY: each vector lies in guest memory, or is the device's own.
            nint sent = LibC.Writev(_socket.Number, vectors, data.Length);
            return sent >= 0 ? (int)sent : WouldWait() ? 0 : -1;
        }
    }

    public int Receive(ReadOnlySpan<IoVector> buffers)
    {
        fixed (IoVector* vectors = buffers)
        {
            // SAFETY: each vector lies in guest memory.
            nint got = LibC.Readv(_socket.Number, vectors, buffers.Length);
            return got > 0 ? (int)got : got < 0 && WouldWait() ? 0 : -1;
        }
    }

    public void Want(bool receive, bool send)
    {
        _interest!.Set(LibC.EPOLLIN, receive);
        _interest.Set(LibC.EPOLLOUT, send);
    }

    public void EndSend() => _ = LibC.Shutdown(_socket.Number, LibC.SHUT_WR);

    public void Dispose()
    {
        if (!_isClosed)
        {
            _isClosed = true;
            _interest?.Dispose();
            _socket.Dispose();
            _closed(this);
        }
    }

    private static bool WouldWait() => Marshal.GetLastPInvokeError() is ErrnoException.EAGAIN or ErrnoException.EINTR;

    private void Ready(uint events)
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
            // Nothing more is reported: what is left to read is read when the guest has room for it.
            _interest!.Dispose();
            _connection!.HungUp();
        }
    }
}

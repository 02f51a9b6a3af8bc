using Vmm.Devices.Legacy;
using Vmm.Devices.Virtio;
using Vmm.Devices.Virtio.Console;
using Vmm.Host;

namespace Vmm.Backends.Console;

/// <summary>The host's end of a named port: a Unix socket. One program at a time is connected to the port; the next one waits
/// until it has closed the connection. On the event loop's thread.</summary>
internal sealed class PortSocket : ISerialOutput, IDisposable
{
    private const int BufferBytes = 4096;
    private const int RoundsPerTurn = 16;

    private readonly EventLoop _loop;
    private readonly SocketName _name;
    private readonly Interest _listening;
    private readonly byte[] _unread = new byte[BufferBytes];     // from the program, for the guest
    private readonly Action _pump;
    private int _first;
    private int _count;
    private ConnectedSocket? _socket;
    private Interest? _interest;
    private bool _isFull;
    private bool _hasEnded;     // the program has shut down sending
    private bool _isHungUp;     // and receiving

    /// <summary>Before the loop starts.</summary>
    /// <exception cref="UsageException">The path cannot be used.</exception>
    public PortSocket(EventLoop loop, PortSpec spec)
    {
        _name = SocketName.Listen($"--port {spec.Name}={spec.Path}", spec.Path);
        _loop = loop;
        _pump = Pump;
        Port = new ConsolePort(spec.Name, this);
        Port.InputSpaceAvailable += () => loop.Post(_pump);
        _listening = new Interest(loop, _name.Number, LibC.EPOLLIN, _ => Accept());
    }

    /// <summary>The port, to be given to the device.</summary>
    public ConsolePort Port { get; }

    /// <summary>Bytes from the guest. They are dropped while no program is connected; the guest is told that.</summary>
    public int Write(ReadOnlySpan<byte> bytes)
    {
        int sent = _socket is null || _isHungUp ? -1 : _socket.Send(bytes);
        if (sent < 0)
        {
            return bytes.Length;
        }

        _isFull = sent < bytes.Length;
        _interest!.Set(LibC.EPOLLOUT, _isFull);
        return sent;
    }

    /// <summary>After the loop has stopped.</summary>
    public void Dispose()
    {
        _interest?.Dispose();
        _socket?.Dispose();
        _listening.Dispose();
        _name.Dispose();
    }

    private void Accept()
    {
        if (_socket is not null || _name.Accept() is not { } connection)
        {
            return;
        }

        _listening.Set(LibC.EPOLLIN, false);
        _socket = new ConnectedSocket(connection);
        _interest = new Interest(_loop, _socket.Number, LibC.EPOLLIN, Serve);
        _first = _count = 0;
        _isFull = _hasEnded = _isHungUp = false;
        Port.SetConnected(true);
    }

    private void Serve(int events)
    {
        if (_socket is null || _isHungUp)
        {
            return;     // an event that was pending when the watch was removed
        }

        _isHungUp = (events & (LibC.EPOLLHUP | LibC.EPOLLERR)) != 0;
        if (_isHungUp)
        {
            _interest!.Dispose();       // it would be reported for ever
        }

        if (_isFull && (_isHungUp || (events & LibC.EPOLLOUT) != 0))
        {
            _isFull = false;
            _interest!.Set(LibC.EPOLLOUT, false);
            Port.OutputDrained();
        }

        Pump();
    }

    /// <summary>Passes the program's bytes to the guest, as many as it takes: the rest stays in the socket. Bytes of a program
    /// that has already disconnected are still delivered.</summary>
    private void Pump()
    {
        for (int rounds = 0; rounds < RoundsPerTurn && _socket is not null; rounds++)
        {
            if (_count == 0)
            {
                int got = _hasEnded ? -1 : _socket.Receive(_unread);
                if (got < 0 && _isHungUp)
                {
                    Leave();
                    return;
                }

                _hasEnded = got < 0;
                if (got <= 0)
                {
                    _interest!.Set(LibC.EPOLLIN, got == 0);     // after its end of input it may still receive
                    return;
                }

                (_first, _count) = (0, got);
            }

            int taken = Port.Receive(_unread.AsSpan(_first, _count));
            _first += taken;
            _count -= taken;
            if (_count > 0)
            {
                _interest!.Set(LibC.EPOLLIN, false);
                return;
            }
        }

        if (_isHungUp)
        {
            _loop.Post(_pump);
        }
        else
        {
            _interest?.Set(LibC.EPOLLIN, true);
        }
    }

    private void Leave()
    {
        _interest!.Dispose();
        _socket!.Dispose();
        _socket = null;
        _interest = null;
        Port.SetConnected(false);
        _listening.Set(LibC.EPOLLIN, true);
    }
}

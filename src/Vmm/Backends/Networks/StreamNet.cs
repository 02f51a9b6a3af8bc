using Vmm.Devices.Virtio;
using Vmm.Devices.Virtio.Net;
using Vmm.Host;

namespace Vmm.Backends.Networks;

/// <summary>A network behind a stream socket. While it is not connected, frames of the guest are dropped.</summary>
/// <remarks>Frames that were read together with others are in the stream's buffer, which epoll does not see: an eventfd is used
/// instead of the socket then.</remarks>
internal abstract class StreamNet : INetBackend, IDisposable
{
    private const int HeaderIndex = 1;      // of the first vector behind the virtio header

    private static readonly byte[] NoHeader = new byte[VirtioNet.HeaderBytes];

    private readonly EventFd _more = new();
    private readonly Interest _moreInterest;
    private FrameStream? _stream;
    private Interest? _interest;
    private volatile bool _wantsReceive;
    private long _runts;

    protected StreamNet(EventLoop loop)
    {
        Loop = loop;
        _moreInterest = new Interest(loop, _more.Number, LibC.EPOLLIN, _ =>
        {
            _more.Drain();
            Receive();
        });
    }

    public NetOffloads Offloads => NetOffloads.None;

    public int QueuePairs => 1;

    public long SendDropped { get; private set; }

    public long ReceiveDropped => _runts + (_stream?.Runts ?? 0);

    protected EventLoop Loop { get; }

    protected INetCard Card { get; private set; } = null!;

    protected bool IsConnected => _stream is not null;

    public virtual void Attach(INetCard card) => Card = card;

    public void Configure(NetOffloads accepted, int pairs)
    {
    }

    public bool TrySend(int pair, ReadOnlySpan<IoVector> frame)
    {
        if (_stream is null || _stream.IsOver)
        {
            SendDropped++;
            return true;
        }

        if (_stream.TrySend(frame[HeaderIndex..]))
        {
            return true;        // also when the connection is closed, which epoll reports
        }

        _interest!.Set(LibC.EPOLLOUT, true);
        return false;
    }

    public int Receive(int pair, ReadOnlySpan<IoVector> buffers)
    {
        if (_stream is null || !_stream.TryReceive(out ReadOnlySpan<byte> frame))
        {
            return 0;
        }

        Received(frame);
        return IoVectors.Fill(buffers, NoHeader, frame);
    }

    public void WantReceive(int pair, bool want)
    {
        _wantsReceive = want;
        _interest?.Set(LibC.EPOLLIN, want);

        // The buffer belongs to the loop's thread: other threads make it check.
        if (want && (!Loop.IsLoopThread || _stream is { HasFrame: true }))
        {
            _more.Signal();
        }
    }

    public virtual void Dispose()
    {
        Close();
        _moreInterest.Dispose();
        _more.Dispose();
    }

    /// <summary>Starts to use a connected socket, on the loop's thread or before it runs.</summary>
    protected void Open(FileDescriptor socket)
    {
        _stream = new FrameStream(socket);
        _interest = new Interest(Loop, socket.Number, _wantsReceive ? LibC.EPOLLIN : 0, Ready);
    }

    /// <inheritdoc cref="FrameStream.HangUp"/>
    protected bool HangUp(TimeSpan patience) => _stream?.HangUp(patience) ?? true;

    /// <summary>Closes the socket.</summary>
    protected void Close()
    {
        _interest?.Dispose();
        _interest = null;
        _runts += _stream?.Runts ?? 0;
        _stream?.Dispose();
        _stream = null;
    }

    /// <summary>The connection is over and closed; on the loop's thread.</summary>
    /// <param name="fault">The error; null when the other end just closed the connection.</param>
    protected abstract void Lost(string? fault);

    /// <summary>Called for each frame for the guest.</summary>
    protected virtual void Received(ReadOnlySpan<byte> frame)
    {
    }

    private void Ready(int events)
    {
        if ((events & LibC.EPOLLOUT) != 0 && _stream!.Flush())
        {
            _interest!.Set(LibC.EPOLLOUT, false);
            if (!_stream.IsOver)
            {
                Card.SendReady(0);
            }
        }

        if ((events & LibC.EPOLLIN) != 0)
        {
            Receive();
        }

        // After a hang-up there may be frames left to read; without buffers they are lost.
        if ((events & (LibC.EPOLLHUP | LibC.EPOLLERR)) != 0 && !_wantsReceive)
        {
            End();
        }
    }

    private void Receive()
    {
        if (_wantsReceive && _stream is not null)
        {
            Card.ReceiveReady(0);
            if (_wantsReceive && _stream.HasFrame)
            {
                _more.Signal();
            }
            else if (_stream.IsOver)
            {
                End();
            }
        }
    }

    private void End()
    {
        string? fault = _stream?.Fault;
        bool wasOpen = _stream is not null;
        Close();
        if (wasOpen)
        {
            // A card that waits to send continues: its frames are dropped from now on.
            Card.SendReady(0);
            Lost(fault);
        }
    }
}

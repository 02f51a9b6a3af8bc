using System.Buffers.Text;
using System.Text.Json;
using System.Text.Json.Serialization.Metadata;
using Tmds.Linux;
using Vmm.Host;

namespace Vmm.Control;

/// <summary>A source of much output on a connection, which pauses while its client does not read. On the event loop's
/// thread.</summary>
internal interface IControlStream
{
    /// <summary>The connection has room (<see cref="ControlConnection.HasRoom"/>): sends what there is.</summary>
    void Pump();

    /// <summary>The client has gone. Once.</summary>
    void Leave();
}

/// <summary>One end of a control socket: lines in, lines out. On the event loop's thread.</summary>
/// <remarks>The other end costs no more than the two buffers. While it does not read replies, or many requests have no answer
/// yet, nothing more is read from it; a client that sends a line that is too long, or does not read its events, is
/// disconnected.</remarks>
internal sealed class ControlConnection : IDisposable
{
    /// <summary>Bytes of a line, without its end.</summary>
    public const int MostLine = 64 << 10;

    /// <summary>Bytes of content in one line of a stream.</summary>
    public const int MostChunk = 32 << 10;

    /// <summary>Bytes that the other end has not read: of more than the first no requests are read and streams wait, of more than
    /// the second it is cut off.</summary>
    public const int EnoughUnread = 64 << 10, MostUnread = 1 << 20;

    /// <summary>Requests that have no answer yet.</summary>
    public const int MostInFlight = 16;

    /// <summary>Streams at a time.</summary>
    public const int MostStreams = 8;

    private readonly EventLoop _loop;
    private readonly ConnectedSocket _socket;
    private readonly Interest _interest;
    private readonly Action<ControlConnection, ReadOnlyMemory<byte>> _said;
    private readonly Action<ControlConnection> _left;
    private readonly SortedDictionary<uint, IControlStream> _streams = [];
    private byte[] _in = new byte[4096];
    private byte[] _out = [];
    private int _inCount, _outFirst, _outCount, _inFlight;
    private uint _lastStream;
    private bool _isOver, _hasEnded, _isHearing;

    /// <param name="socket">Does not block; owned from now on.</param>
    /// <param name="said">Hears each line, without its end.</param>
    /// <param name="left">Hears once that the other end is gone; this is to be disposed then.</param>
    public ControlConnection(
        EventLoop loop, FileDescriptor socket, Action<ControlConnection, ReadOnlyMemory<byte>> said, Action<ControlConnection> left)
    {
        (_loop, _said, _left) = (loop, said, left);
        _socket = new ConnectedSocket(socket);
        _interest = new Interest(loop, _socket.Number, LibC.EPOLLIN, Serve);
    }

    /// <summary>Does it hear of events?</summary>
    public bool IsSubscribed { get; set; }

    /// <summary>Is the other end gone?</summary>
    public bool IsOver => _isOver;

    /// <summary>May streams send?</summary>
    public bool HasRoom => !_isOver && _outCount < EnoughUnread;

    private bool MayHear => HasRoom && _inFlight < MostInFlight;

    /// <summary>A request is to be answered; <see cref="Answered"/> tells that it was.</summary>
    public void Asked() => _inFlight++;

    public void Answered()
    {
        _inFlight--;
        HearOn();
    }

    /// <summary>Sends a message; nothing once the other end is gone.</summary>
    public void Send<T>(T message, JsonTypeInfo<T> type)
    {
        if (!_isOver)
        {
            Append(JsonSerializer.SerializeToUtf8Bytes(message, type));
            Append("\n"u8);
            Flush();
        }
    }

    /// <summary>Sends bytes of a stream as base64: <c>FRONT"stream":1,"data":"..."BACK</c>.</summary>
    /// <param name="front">What is in front of the stream's number: <c>{"event":"output","fd":1,</c>.</param>
    /// <param name="content">At most <see cref="MostChunk"/> bytes.</param>
    /// <param name="back">What ends the object: <c>}</c>.</param>
    public void SendChunk(ReadOnlySpan<byte> front, uint stream, ReadOnlySpan<byte> content, ReadOnlySpan<byte> back)
    {
        if (_isOver)
        {
            return;
        }

        Append(front);
        Append("\"stream\":"u8);
        Span<byte> number = stackalloc byte[10];
        Utf8Formatter.TryFormat(stream, number, out int digits);
        Append(number[..digits]);
        Append(",\"data\":\""u8);
        Span<byte> room = Room(Base64.GetMaxEncodedToUtf8Length(content.Length));
        Base64.EncodeToUtf8(content, room, out _, out int written);
        _outCount += written;
        Append("\""u8);
        Append(back);
        Append("\n"u8);
        Flush();
    }

    /// <returns>Its number; null where there are too many.</returns>
    public uint? Add(IControlStream stream)
    {
        if (_streams.Count >= MostStreams)
        {
            return null;
        }

        _streams.Add(++_lastStream, stream);
        return _lastStream;
    }

    public IControlStream? Find(uint stream) => _streams.GetValueOrDefault(stream);

    /// <summary>The stream has said all.</summary>
    public void Remove(uint stream)
    {
        _streams.Remove(stream);
        LeaveWhereDone();
    }

    /// <summary>Sends what waits, when the loop has ended.</summary>
    /// <param name="patience">For all of it.</param>
    public unsafe void Finish(TimeSpan patience)
    {
        long end = Environment.TickCount64 + (long)patience.TotalMilliseconds;
        Flush();
        while (!_isOver && _outCount > 0 && Environment.TickCount64 < end)
        {
            var poll = new pollfd { fd = _socket.Number, events = LibC.POLLOUT };

            // SAFETY: one struct on this stack.
            _ = LibC.Poll(&poll, 1, (int)Math.Max(0, end - Environment.TickCount64));
            Flush();
        }
    }

    public void Dispose()
    {
        _isOver = true;
        _interest.Dispose();
        _socket.Dispose();
        foreach (IControlStream stream in _streams.Values)
        {
            stream.Leave();
        }

        _streams.Clear();
    }

    private void Serve(int events)
    {
        if (_isOver)
        {
            return;     // an event that was ready when it was cut off
        }

        if ((events & LibC.EPOLLOUT) != 0)
        {
            Flush();
            Pump();
            HearOn();
        }

        if ((events & (LibC.EPOLLIN | LibC.EPOLLHUP | LibC.EPOLLERR)) == 0 || _isOver)
        {
            return;
        }

        // What was said before it hung up is heard, unless nothing is heard from it just now.
        if (_interest.Has(LibC.EPOLLIN))
        {
            Receive();
        }
        else if ((events & (LibC.EPOLLHUP | LibC.EPOLLERR)) != 0)
        {
            Leave();
        }
    }

    private void Pump()
    {
        foreach (IControlStream stream in HasRoom && _streams.Count > 0 ? _streams.Values.ToArray() : [])
        {
            stream.Pump();
        }
    }

    private void Receive()
    {
        if (_inCount == _in.Length)
        {
            Array.Resize(ref _in, Math.Min(_in.Length * 4, MostLine + 1));
        }

        int got = _socket.Receive(_in.AsSpan(_inCount));
        if (got < 0)
        {
            _hasEnded = true;       // it may still listen
            _interest.Set(LibC.EPOLLIN, false);
            LeaveWhereDone();
            return;
        }

        _inCount += got;
        HearOn();
        if (_inCount > MostLine && MayHear)
        {
            // A whole line would have been taken.
            Send(
                new ControlReply { Error = new ControlError("bad-request", $"a line of more than {MostLine} bytes") },
                ControlJson.Default.ControlReply);
            Leave();
        }
    }

    /// <summary>Handles the received lines, as long as their replies fit.</summary>
    private void HearOn()
    {
        if (_isHearing)
        {
            return;
        }

        _isHearing = true;
        int first = 0;
        while (MayHear)
        {
            int length = _in.AsSpan(first, _inCount - first).IndexOf((byte)'\n');
            if (length < 0)
            {
                break;
            }

            if (length > 0)
            {
                _said(this, _in.AsMemory(first, length));
            }

            first += length + 1;
        }

        _isHearing = false;
        _inCount -= first;
        _in.AsSpan(first, _inCount).CopyTo(_in);
        if (!_isOver)
        {
            _interest.Set(LibC.EPOLLIN, MayHear && !_hasEnded);
            LeaveWhereDone();
        }
    }

    private Span<byte> Room(int bytes)
    {
        if (_outFirst + _outCount + bytes > _out.Length)
        {
            byte[] room = _outCount + bytes > _out.Length ? new byte[Math.Max(4096, 2 * (_outCount + bytes))] : _out;
            _out.AsSpan(_outFirst, _outCount).CopyTo(room);
            (_out, _outFirst) = (room, 0);
        }

        return _out.AsSpan(_outFirst + _outCount, bytes);
    }

    private void Append(ReadOnlySpan<byte> bytes)
    {
        bytes.CopyTo(Room(bytes.Length));
        _outCount += bytes.Length;
    }

    private void Flush()
    {
        while (_outCount > 0 && !_isOver)
        {
            int sent = _socket.Send(_out.AsSpan(_outFirst, _outCount));
            if (sent < 0 || (sent == 0 && _outCount > MostUnread))
            {
                Leave();
                return;
            }

            if (sent == 0)
            {
                break;
            }

            _outFirst += sent;
            _outCount -= sent;
        }

        if (_outCount == 0)
        {
            _outFirst = 0;
        }

        _interest.Set(LibC.EPOLLOUT, _outCount > 0);
    }

    /// <summary>A client that has shut down sending, as <c>echo ... | socat</c> does, gets its answers first.</summary>
    private void LeaveWhereDone()
    {
        if (_hasEnded && _inFlight == 0 && _outCount == 0 && _streams.Count == 0 && !IsSubscribed)
        {
            Leave();
        }
    }

    /// <summary>Told later: whoever sends is in the middle of something.</summary>
    private void Leave()
    {
        if (!_isOver)
        {
            _isOver = true;
            _interest.Dispose();
            _loop.Post(() => _left(this));
        }
    }
}

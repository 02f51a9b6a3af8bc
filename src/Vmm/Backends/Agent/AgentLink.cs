using System.Runtime.InteropServices;
using Vmm.Host;

namespace Vmm.Backends.Agent;

/// <summary>Gets what a link receives. On the event loop's thread.</summary>
internal interface IAgentLinkOwner
{
    /// <summary>A frame; the content is valid during the call only.</summary>
    void Take(AgentLink link, in AgentFrame frame, ReadOnlySpan<byte> content);

    /// <summary>The link is closed: by the guest, or because it broke the protocol.</summary>
    void Lost(AgentLink link, string why);
}

/// <summary>A connection to the agent: frames over a stream socket that leads to a vsock connection or a serial port. Never
/// blocks. Sent frames are buffered until <see cref="Flush"/>, and while the guest does not read; credits limit how much that
/// is.</summary>
internal sealed unsafe class AgentLink : IDisposable
{
    private const int ReadsPerTurn = 8;

    private readonly FileDescriptor _socket;
    private readonly Interest _interest;
    private readonly IAgentLinkOwner _owner;
    private readonly AgentFrameReader _reader;
    private byte[] _unsent = new byte[4096];
    private int _start;
    private int _end;
    private ushort _next;
    private bool _isOver;

    /// <param name="socket">Owned from now on; does not block.</param>
    /// <param name="isSerial">Does it lead to a serial line?</param>
    public AgentLink(EventLoop loop, FileDescriptor socket, bool isSerial, IAgentLinkOwner owner)
    {
        (_socket, _owner, IsSerial) = (socket, owner, isSerial);
        _reader = new AgentFrameReader(isSerial);
        _interest = new Interest(loop, socket.Number, LibC.EPOLLIN, Ready);
    }

    public bool IsSerial { get; }

    /// <summary>Space for the content of a frame, which <see cref="Put"/> then sends.</summary>
    /// <param name="length">Bytes, up to <see cref="AgentProtocol.MostContent"/>.</param>
    public Span<byte> Reserve(int length)
    {
        int needed = AgentFrame.HeaderLength + length;
        if (_unsent.Length - _end < needed && _start > 0)
        {
            _unsent.AsSpan(_start, _end - _start).CopyTo(_unsent);
            (_start, _end) = (0, _end - _start);
        }

        if (_unsent.Length - _end < needed)
        {
            Array.Resize(ref _unsent, Math.Max(_unsent.Length * 2, _end + needed));
        }

        return _unsent.AsSpan(_end + AgentFrame.HeaderLength, length);
    }

    /// <summary>Sends a frame with the content that was written to the reserved space.</summary>
    public void Put(AgentFrameType type, uint process, int length)
    {
        Span<byte> frame = _unsent.AsSpan(_end, AgentFrame.HeaderLength + length);
        uint check = IsSerial ? Crc32C.Of(frame[AgentFrame.HeaderLength..]) : 0;
        new AgentFrame(type, _next++, process, length, check).Write(frame);
        _end += frame.Length;
    }

    public void Send(AgentFrameType type, uint process, ReadOnlySpan<byte> content)
    {
        content.CopyTo(Reserve(content.Length));
        Put(type, process, content.Length);
    }

    public void Send(AgentFrameType type, uint process, uint value)
    {
        Span<byte> content = stackalloc byte[sizeof(uint)];
        System.Buffers.Binary.BinaryPrimitives.WriteUInt32LittleEndian(content, value);
        Send(type, process, content);
    }

    /// <summary>Writes as much as the socket takes now, and the rest when it takes more.</summary>
    public void Flush()
    {
        while (!_isOver && _start < _end)
        {
            long sent;
            fixed (byte* start = &_unsent[_start])
            {
                // SAFETY: the array is pinned meanwhile, and the length ends within it.
                sent = LibC.write(_socket.Number, start, _end - _start);
            }

            if (sent < 0)
            {
                if (Marshal.GetLastPInvokeError() is ErrnoException.EAGAIN or ErrnoException.EINTR)
                {
                    break;
                }

                _start = _end;      // the next read reports the end, too
            }
            else
            {
                _start += (int)sent;
            }
        }

        _interest.Set(LibC.EPOLLOUT, _start < _end && !_isOver);
    }

    public void Dispose()
    {
        _isOver = true;
        _interest.Dispose();
        _socket.Dispose();
    }

    private void Ready(int events)
    {
        if ((events & LibC.EPOLLOUT) != 0)
        {
            Flush();
        }

        if ((events & (LibC.EPOLLIN | LibC.EPOLLHUP | LibC.EPOLLERR)) == 0)
        {
            return;
        }

        for (int i = 0; i < ReadsPerTurn && !_isOver; i++)
        {
            Span<byte> room = _reader.Room;
            long got;
            fixed (byte* start = room)
            {
                // SAFETY: the span is pinned meanwhile.
                got = LibC.read(_socket.Number, start, room.Length);
            }

            if (got < 0 && Marshal.GetLastPInvokeError() is ErrnoException.EAGAIN or ErrnoException.EINTR)
            {
                return;
            }

            if (got <= 0)
            {
                End("the guest closed its connection to vmm");
                return;
            }

            _reader.Added((int)got);
            while (!_isOver && _reader.TryTake(out AgentFrame frame, out ReadOnlySpan<byte> content))
            {
                _owner.Take(this, frame, content);
            }

            if (_reader.Fault is { } fault)
            {
                End(fault);
            }
        }
    }

    private void End(string why)
    {
        if (!_isOver)
        {
            _isOver = true;
            _interest.Dispose();
            _owner.Lost(this, why);
        }
    }
}

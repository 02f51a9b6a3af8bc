using Vmm.Backends.Console;
using Vmm.Devices.Legacy;
using Vmm.Host;

namespace Vmm.Control;

/// <summary>A guest's console for one client: it hears what the guest says, and types. On the event loop's thread.</summary>
internal sealed class ConsoleStream : IControlDuplex
{
    public const int InputWindow = 4096, OutputWindow = 64 << 10;

    private readonly EventLoop _loop;
    private readonly ConsoleTape _tape;
    private readonly ISerialInput _port;
    private readonly Func<ushort, ushort, bool> _resize;
    private readonly ControlConnection _client;
    private readonly ByteQueue _typed = new();
    private readonly byte[] _chunk = new byte[ControlConnection.MostChunk];
    private readonly Action _hear, _type, _mayType;
    private long _position;
    private int _credit = OutputWindow, _taken;
    private bool _isOver;

    /// <param name="resize">Gives the console another number of rows and columns; false where it has no size.</param>
    /// <exception cref="ControlException">The client has too many streams.</exception>
    public ConsoleStream(
        EventLoop loop, ConsoleTape tape, ISerialInput port, Func<ushort, ushort, bool> resize, ControlConnection client, bool replay)
    {
        (_loop, _tape, _port, _resize, _client) = (loop, tape, port, resize, client);
        Number = client.Add(this) ?? throw StreamRequests.TooMany();
        _position = replay ? tape.Oldest : tape.Total;
        _hear = Pump;
        _type = Type;
        _mayType = () => _loop.Post(_type);
        tape.Add(_hear);
        port.InputSpaceAvailable += _mayType;
    }

    public uint Number { get; }

    public void Pump()
    {
        while (_client.HasRoom && _credit > 0 && !_isOver)
        {
            int count = _tape.Read(ref _position, _chunk.AsSpan(0, Math.Min(_credit, _chunk.Length)), out long lost);
            if (lost > 0)
            {
                _client.Send(new ControlEvent { Event = "lost", Stream = Number, Bytes = lost }, ControlJson.Default.ControlEvent);
            }

            if (count == 0)
            {
                return;
            }

            _credit -= count;
            _client.SendChunk("{\"event\":\"output\",\"fd\":1,"u8, Number, _chunk.AsSpan(0, count), "}"u8);
        }
    }

    public void Input(ReadOnlySpan<byte> data)
    {
        if (data.Length + _typed.Count + _taken > InputWindow)
        {
            throw StreamRequests.TooMuch();
        }

        _typed.Add(data);
        Type();
    }

    public void Credit(int fd, uint bytes)
    {
        if (fd != 1 || bytes > OutputWindow - _credit)
        {
            throw new ControlException("bad-arguments", "more credit than there was output");
        }

        _credit += (int)bytes;
        Pump();
    }

    public void Signal(int number) => throw new ControlException("failed", "a console takes no signals; write what the key would: \\u0003");

    public void Resize(ushort rows, ushort columns)
    {
        if (!_resize(rows, columns))
        {
            throw new ControlException("failed", "a serial console has no size; in the guest: stty rows N cols N");
        }
    }

    public void Close(int? fd)
    {
        Leave();
        _client.Remove(Number);
    }

    public void Leave()
    {
        if (!_isOver)
        {
            _isOver = true;
            _tape.Remove(_hear);
            _port.InputSpaceAvailable -= _mayType;
        }
    }

    /// <summary>Gives the guest what it takes, and the client room for as much.</summary>
    private void Type()
    {
        while (_typed.Count > 0 && !_isOver)
        {
            int taken = _port.Receive(_typed.Peek(_typed.Count));
            if (taken == 0)
            {
                break;
            }

            _typed.Remove(taken);
            _taken += taken;
        }

        if (_taken > 0 && !_isOver && (_typed.Count == 0 || _taken >= InputWindow / 4))
        {
            _client.Send(new ControlEvent { Event = "credit", Stream = Number, Bytes = _taken }, ControlJson.Default.ControlEvent);
            _taken = 0;
        }
    }
}

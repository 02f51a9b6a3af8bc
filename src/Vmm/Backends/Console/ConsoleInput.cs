using System.Runtime.InteropServices;
using Vmm.Devices.Legacy;
using Vmm.Host;

namespace Vmm.Backends.Console;

/// <summary>Standard input on its way to the guest's serial port, on the event loop's thread.</summary>
/// <remarks>Reads only as much as the port took of what was read before, so a pipe of any length loses nothing. At the
/// end of input the guest gets Ctrl-D, which is how a terminal says it, and gets it again, ever less often, while it says
/// nothing: a file goes on telling its end too, and Linux keeps a Ctrl-D that came while the terminal was in line mode
/// from a shell that then reads it in raw mode. On a terminal Ctrl-A starts a command.</remarks>
internal sealed unsafe class ConsoleInput : IDisposable
{
    private const byte Escape = 0x01;           // Ctrl-A
    private const byte EndOfTransmission = 0x04; // Ctrl-D
    private const int BufferSize = 1024;
    private static readonly TimeSpan FirstRepeat = TimeSpan.FromMilliseconds(500);
    private static readonly TimeSpan LongestRepeat = TimeSpan.FromMinutes(1);

    private readonly EventLoop _loop;
    private readonly int _fd;
    private readonly bool _isTerminal;
    private readonly Serial16550 _port;
    private readonly ConsoleOutput _output;
    private readonly Action<byte> _command;
    private readonly byte[] _pending = new byte[BufferSize + 1];
    private EventLoop.Watch? _readable;
    private bool _alwaysReady;
    private bool _watching;
    private int _first;
    private int _count;
    private bool _escaped;
    private bool _ended;
    private long _total;
    private LoopTimer? _repeat;
    private TimeSpan _repeatAfter = FirstRepeat;
    private long _outputBefore;

    /// <param name="output">Tells whether the guest is quiet.</param>
    /// <param name="command">What follows Ctrl-A, on a terminal only: <c>x</c>, <c>h</c> ...</param>
    public ConsoleInput(EventLoop loop, int fd, bool isTerminal, Serial16550 port, ConsoleOutput output, Action<byte> command)
    {
        _loop = loop;
        _fd = fd;
        _isTerminal = isTerminal;
        _port = port;
        _output = output;
        _command = command;
        port.InputSpaceAvailable += () => loop.Post(Pump);
    }

    /// <summary>Bytes that the guest was given so far.</summary>
    public long TotalBytes => Interlocked.Read(ref _total);

    /// <param name="unread">What goes to the guest before what is read from now on.</param>
    public void Start(ReadOnlySpan<byte> unread = default)
    {
        unread.CopyTo(_pending);
        _count = unread.Length;
        if (_count > 0)
        {
            _loop.Post(Pump);
        }

        _readable = _loop.TryAdd(_fd, LibC.EPOLLIN, _ => Fill(), "console input");
        _watching = _readable is not null;
        _alwaysReady = _readable is null;
        if (_alwaysReady)
        {
            _loop.Post(Fill);
        }
    }

    /// <summary>What was read and the guest has not taken, without the Ctrl-D at the end: whoever reads on finds the end
    /// itself. The event loop has ended.</summary>
    public byte[] TakeUnread() => _ended ? [] : _pending.AsSpan(_first, _count).ToArray();

    public void Dispose() => _repeat?.Dispose();

    private void Fill()
    {
        if (_ended || _count > 0)
        {
            return;
        }

        nint got;
        fixed (byte* start = _pending)
        {
            got = LibC.Read(_fd, start, BufferSize);
        }

        if (got < 0 && Marshal.GetLastPInvokeError() is ErrnoException.EINTR or ErrnoException.EAGAIN)
        {
            return;
        }

        _first = 0;
        if (got <= 0)
        {
            // End of file, or a terminal that was hung up (EIO): both mean that nothing more comes.
            _ended = true;
            _pending[0] = EndOfTransmission;
            _count = 1;
            if (_readable is not null)
            {
                _loop.Remove(_readable);
                _watching = false;
            }

            _repeat = new LoopTimer(_loop, RepeatEnd);
            _repeat.Set(_repeatAfter);
        }
        else
        {
            _count = _isTerminal ? FilterCommands((int)got) : (int)got;
        }

        Pump();
    }

    private void RepeatEnd()
    {
        long output = _output.TotalBytes;
        if (_count == 0 && output == _outputBefore)
        {
            _first = 0;
            _pending[0] = EndOfTransmission;
            _count = 1;
            TimeSpan twice = 2 * _repeatAfter;
            _repeatAfter = twice < LongestRepeat ? twice : LongestRepeat;
            Pump();
        }

        _outputBefore = output;
        _repeat!.Set(_repeatAfter);
    }

    /// <summary>Takes Ctrl-A and what follows it out of what was typed; returns how many bytes are left.</summary>
    private int FilterCommands(int length)
    {
        int kept = 0;
        for (int i = 0; i < length; i++)
        {
            byte value = _pending[i];
            if (_escaped)
            {
                _escaped = false;
                if (value is Escape or (byte)'a')
                {
                    _pending[kept++] = Escape;
                }
                else
                {
                    _command(value);
                }
            }
            else if (value == Escape)
            {
                _escaped = true;
            }
            else
            {
                _pending[kept++] = value;
            }
        }

        return kept;
    }

    private void Pump()
    {
        while (_count > 0)
        {
            int taken = _port.Receive(_pending.AsSpan(_first, _count));
            _first += taken;
            _count -= taken;
            _total += taken;
            if (taken == 0)
            {
                Watch(false);
                return;
            }
        }

        if (_ended)
        {
            return;
        }

        if (_alwaysReady)
        {
            Fill();
            return;
        }

        Watch(true);
    }

    private void Watch(bool watch)
    {
        // While the port is full the terminal or pipe keeps what comes, and epoll need not say so again and again.
        if (_readable is not null && watch != _watching && !_ended)
        {
            _watching = watch;
            _loop.Change(_readable, watch ? LibC.EPOLLIN : 0);
        }
    }
}

using System.Runtime.InteropServices;
using Vmm.Devices.Legacy;
using Vmm.Host;

namespace Vmm.Backends.Console;

/// <summary>Passes standard input to the guest's console port, on the event loop's thread.</summary>
/// <remarks>
/// A pipe or file is read only when the port has taken what was read before, so nothing of it is lost. A terminal is read
/// ahead, because Ctrl-A commands must work whether or not the guest reads. When that queue is full vmm stops reading the
/// terminal, until it is clear that the guest does not read at all: from then on further input is only searched for commands
/// and dropped.
/// At the end of input the guest gets Ctrl-D, as at a terminal, and again at growing intervals while it writes nothing: reading
/// a file returns its end again, too, and Linux does not pass a Ctrl-D that came while the terminal was in line mode to a shell
/// that reads in raw mode.
/// </remarks>
internal sealed class ConsoleInput : IDisposable
{
    private const byte EndOfTransmission = 0x04; // Ctrl-D
    private const int ChunkSize = 1024;
    private const int MostAhead = 64 * 1024;
    private static readonly TimeSpan FirstRepeat = TimeSpan.FromMilliseconds(500);
    private static readonly TimeSpan LongestRepeat = TimeSpan.FromMinutes(1);
    private static readonly TimeSpan IgnoredAfter = TimeSpan.FromSeconds(1);

    private readonly EventLoop _loop;
    private readonly InputDescriptor _source;
    private readonly Terminal? _terminal;
    private readonly EscapeFilter? _escapes;
    private readonly ISerialInput _port;
    private readonly ConsoleOutput _output;
    private readonly Action _pump;
    private byte[] _queue = new byte[ChunkSize];
    private EventLoop.Watch? _readable;
    private bool _alwaysReady;
    private bool _held;
    private bool _ended;
    private bool _hasSentEnd;
    private int _first;
    private int _count;
    private long _total;
    private long _lastTaken = Environment.TickCount64;
    private readonly LoopTimer _repeat;
    private readonly LoopTimer? _deaf;
    private TimeSpan _repeatAfter = FirstRepeat;
    private long _outputBefore;

    /// <param name="terminal">The terminal; null for a pipe or file.</param>
    /// <param name="output">Tells whether the guest is quiet.</param>
    /// <param name="command">Gets what follows Ctrl-A, on a terminal only: <c>x</c>, <c>h</c> ...</param>
    public ConsoleInput(
        EventLoop loop, int fd, Terminal? terminal, ISerialInput port, ConsoleOutput output, Action<byte> command)
        : this(loop, new InputDescriptor(fd, terminal is not null), terminal, port, output, command)
    {
    }

    /// <inheritdoc cref="ConsoleInput(EventLoop, int, Terminal?, ISerialInput, ConsoleOutput, Action{byte})"/>
    /// <param name="source">Owned from now on.</param>
    public ConsoleInput(
        EventLoop loop, InputDescriptor source, Terminal? terminal, ISerialInput port, ConsoleOutput output, Action<byte> command)
    {
        _loop = loop;
        _terminal = terminal;
        _source = source;
        _repeat = new LoopTimer(loop, RepeatEnd);
        _deaf = terminal is null ? null : new LoopTimer(loop, WatchIfWanted);
        _escapes = terminal is null ? null : new EscapeFilter(command);
        _port = port;
        _output = output;
        _pump = Pump;
        port.InputSpaceAvailable += () => loop.Post(_pump);
    }

    /// <summary>vmm is no longer in the terminal's foreground. On the event loop's thread.</summary>
    public event Action? TerminalLost;

    /// <summary>Bytes passed to the guest so far.</summary>
    public long TotalBytes => Interlocked.Read(ref _total);

    /// <summary>Adds input that the guest gets first. Before <see cref="Start"/>.</summary>
    public void Queue(ReadOnlySpan<byte> unread)
    {
        _queue = new byte[Math.Max(ChunkSize, unread.Length)];
        unread.CopyTo(_queue);
        _count = unread.Length;
    }

    /// <summary>Starts reading. Once, on the event loop's thread.</summary>
    public void Start()
    {
        _readable = _loop.TryAdd(_source.Number, LibC.EPOLLIN, _ => Fill(), "console input");
        _alwaysReady = _readable is null;
        Pump();
    }

    /// <summary>Input that was read and the guest has not taken, without the Ctrl-D at its end: the next machine finds the end
    /// itself. The event loop has ended.</summary>
    public byte[] TakeUnread() => _hasSentEnd ? [] : _queue.AsSpan(_first, _count).ToArray();

    /// <summary>Stops reading until <see cref="Release"/>: the terminal is another program's.</summary>
    public void Hold()
    {
        _held = true;
        if (_readable is not null)
        {
            _loop.Pause(_readable);
        }
    }

    /// <summary>Ends <see cref="Hold"/>.</summary>
    public void Release()
    {
        _held = false;
        WatchIfWanted();
    }

    public void Dispose()
    {
        _repeat.Dispose();
        _deaf?.Dispose();
        _source.Dispose();
    }

    private void Fill()
    {
        if (_held || _ended || (_terminal is null && _count > 0))
        {
            return;
        }

        if (_terminal is { IsInForeground: false })
        {
            TerminalLost?.Invoke();
            return;
        }

        Span<byte> room = MakeRoom();
        Span<byte> dropped = stackalloc byte[room.IsEmpty ? ChunkSize : 0];
        Span<byte> buffer = room.IsEmpty ? dropped : room;
        long got = _alwaysReady ? _source.ReadWaiting(buffer) : _source.Read(buffer);
        if (got < 0 && Marshal.GetLastPInvokeError() is ErrnoException.EINTR or ErrnoException.EAGAIN)
        {
            return;
        }

        if (got <= 0)
        {
            // End of file, or a terminal that was hung up (EIO): both mean the end of the input. But a process that has just
            // been put into the background gets EIO, too.
            if (_terminal is { IsInForeground: false })
            {
                TerminalLost?.Invoke();
                return;
            }

            End();
        }
        else
        {
            int kept = _escapes?.Filter(buffer[..(int)got]) ?? (int)got;
            _count += room.IsEmpty ? 0 : kept;
        }

        Pump();
    }

    private void End()
    {
        _ended = true;
        if (_readable is not null)
        {
            _loop.Remove(_readable);
        }

        if (_count == 0)
        {
            SendEnd();
        }

        _repeat.Set(_repeatAfter);
    }

    private void SendEnd()
    {
        _hasSentEnd = true;
        _first = 0;
        _queue[0] = EndOfTransmission;
        _count = 1;
    }

    private void RepeatEnd()
    {
        long output = _output.TotalBytes;
        if (_count == 0 && output == _outputBefore)
        {
            SendEnd();
            TimeSpan twice = 2 * _repeatAfter;
            _repeatAfter = twice < LongestRepeat ? twice : LongestRepeat;
            Pump();
        }

        _outputBefore = output;
        _repeat.Set(_repeatAfter);
    }

    /// <summary>The free end of the queue; it grows for a terminal only. Empty where it is full.</summary>
    private Span<byte> MakeRoom()
    {
        if (_count == 0)
        {
            _first = 0;
        }

        if (_first + _count == _queue.Length)
        {
            if (_count == _queue.Length && _queue.Length < MostAhead)
            {
                Array.Resize(ref _queue, 2 * _queue.Length);
            }
            else
            {
                _queue.AsSpan(_first, _count).CopyTo(_queue);
                _first = 0;
            }
        }

        Span<byte> free = _queue.AsSpan(_first + _count);
        return free.Length > ChunkSize ? free[..ChunkSize] : free;
    }

    private void Pump()
    {
        while (_count > 0)
        {
            int taken = _port.Receive(_queue.AsSpan(_first, _count));
            if (taken == 0)
            {
                break;
            }

            _first += taken;
            _count -= taken;
            _total += taken;
            _lastTaken = Environment.TickCount64;
        }

        if (_alwaysReady && _count == 0)
        {
            Fill();     // which comes here again, until the port is full
        }
        else
        {
            WatchIfWanted();
        }
    }

    /// <summary>What is not wanted stays in the terminal or pipe. The watch is paused then: the end of a pipe would be told
    /// again and again.</summary>
    private void WatchIfWanted()
    {
        if (_readable is null || _ended)
        {
            return;
        }

        if (!_held && (_terminal is null ? _count == 0 : HasRoom || GuestIgnoresInput()))
        {
            _loop.Resume(_readable, LibC.EPOLLIN);
        }
        else
        {
            _loop.Pause(_readable);
        }
    }

    private bool HasRoom => _count < MostAhead;

    /// <summary>Has the guest taken nothing for a while? If not, asks again later.</summary>
    private bool GuestIgnoresInput()
    {
        long left = (long)IgnoredAfter.TotalMilliseconds - (Environment.TickCount64 - _lastTaken);
        if (left <= 0)
        {
            return true;
        }

        _deaf!.Set(TimeSpan.FromMilliseconds(left));
        return false;
    }
}

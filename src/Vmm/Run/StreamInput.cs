using System.Runtime.InteropServices;
using Vmm.Backends.Agent;
using Vmm.Backends.Console;
using Vmm.Host;

namespace Vmm.Run;

/// <summary>Passes standard input to a command in the guest. On the event loop's thread. Reads only as much as the command has
/// credit for, so that other programs with the same input get the rest, and memory is limited to a window.</summary>
internal sealed class StreamInput : IDisposable
{
    private const byte ControlC = 3;
    private static readonly TimeSpan Burst = TimeSpan.FromSeconds(1);

    private readonly EventLoop _loop;
    private readonly InputDescriptor _source;
    private readonly IInputSink _process;
    private readonly Action? _escaped;
    private readonly Action<ReadOnlySpan<byte>>? _taken;
    private readonly EventLoop.Watch? _watch;
    private bool _ended;
    private int _controls;
    private long _firstControl;

    /// <param name="escaped">On a terminal: Ctrl-C came three times within a second. Null where it is none.</param>
    /// <param name="taken">Hears what the command gets; null for nobody.</param>
    public StreamInput(EventLoop loop, int fd, IInputSink process, Action? escaped, Action<ReadOnlySpan<byte>>? taken = null)
    {
        (_loop, _process, _escaped, _taken) = (loop, process, escaped, taken);
        _source = new InputDescriptor(fd, isTerminal: escaped is not null);
        _watch = loop.TryAdd(_source.Number, LibC.EPOLLIN | LibC.EPOLLONESHOT, _ => Read(), "standard input");
        if (_watch is null)
        {
            Read();     // a file is always ready
        }
    }

    /// <summary>The error that ended it: the command has got a part only. Null where there was none, or no input to read: a descriptor that
    /// is for writing only (nohup(1) opens one), a terminal that was hung up or is another's.</summary>
    public ErrnoException? Failure { get; private set; }

    /// <summary>The command has credit again.</summary>
    public void Continue()
    {
        if (_ended)
        {
            return;
        }

        if (_watch is not null)
        {
            _loop.Change(_watch, LibC.EPOLLIN | LibC.EPOLLONESHOT);
        }
        else
        {
            Read();
        }
    }

    /// <summary>The command has closed its input: stops reading.</summary>
    public void Stop()
    {
        if (!_ended)
        {
            _ended = true;
            if (_watch is not null)
            {
                _loop.Remove(_watch);
            }
        }
    }

    public void Dispose()
    {
        Stop();
        _source.Dispose();
    }

    private void Read()
    {
        // Reads a pipe once: epoll reports whether there is more. Continue is called when there is credit again.
        do
        {
            Span<byte> room = _process.ReserveInput();
            if (_ended || room.IsEmpty)
            {
                return;
            }

            long got = _watch is null ? _source.ReadWaiting(room) : _source.Read(room);
            if (got < 0 && Marshal.GetLastPInvokeError() is ErrnoException.EAGAIN or ErrnoException.EINTR)
            {
                break;
            }

            if (got <= 0)
            {
                Failure = got == 0 ? null : FailureOf(Marshal.GetLastPInvokeError());
                Stop();
                _process.PutInput(0);
                return;
            }

            CountControls(room[..(int)got]);
            _taken?.Invoke(room[..(int)got]);
            _process.PutInput((int)got);
        }
        while (_watch is null);

        if (_watch is not null && _process.InputCredit > 0)
        {
            Continue();
        }
    }

    private ErrnoException? FailureOf(int errno) =>
        errno == LibC.EBADF || (errno == ErrnoException.EIO && LibC.isatty(_source.Number) == 1)
            ? null
            : new ErrnoException("standard input", errno);

    private void CountControls(ReadOnlySpan<byte> typed)
    {
        if (_escaped is null || typed.Length > 3)
        {
            return;
        }

        foreach (byte key in typed)
        {
            if (key != ControlC)
            {
                _controls = 0;
            }
            else if (_controls == 0 || System.Diagnostics.Stopwatch.GetElapsedTime(_firstControl) > Burst)
            {
                (_controls, _firstControl) = (1, System.Diagnostics.Stopwatch.GetTimestamp());
            }
            else if (++_controls == 3)
            {
                _escaped();
            }
        }
    }
}

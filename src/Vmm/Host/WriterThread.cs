using System.Diagnostics;
using System.Runtime.InteropServices;
using Tmds.Linux;

namespace Vmm.Host;

/// <summary>Writes to a descriptor on a thread of its own, through a ring of fixed size: no other thread ever waits for a
/// terminal or pipe that is full. The thread is started by the constructor.
/// </summary>
/// <remarks>
/// Standard streams are shared with other programs, so they cannot be made non-blocking, and nothing tells beforehand
/// whether a terminal takes a write without waiting (docs/hosts.md, "Terminals and pipes"). The thread may be in
/// write(2) when the process ends.
/// </remarks>
internal sealed unsafe class WriterThread : IDisposable
{
    /// <summary>Bytes written at once. vmm may have lost the terminal to another process group after each.</summary>
    private const int TerminalChunk = 4096, Chunk = 65536;

    private const int StackSize = 128 * 1024;
    private static readonly TimeSpan BackgroundLook = TimeSpan.FromMilliseconds(200);

    private readonly string _name;
    private readonly int _fd;
    private readonly int _capacity;
    private readonly bool _isTerminal;
    private readonly EventFd _wake = new(blocking: true);
    private readonly EventFd _idle = new();
    private readonly Lock _lock = new();
    private readonly byte* _ring;
    private readonly HostThread _thread;
    private int _first;
    private int _count;
    private bool _busy;
    private bool _refused;
    private long _total;
    private ErrnoException? _failure;
    private volatile bool _stopping;

    /// <param name="name">For errors: <c>standard output</c>.</param>
    /// <param name="capacity">Bytes of the ring.</param>
    public WriterThread(string name, int fd, int capacity)
    {
        _name = name;
        _fd = fd;
        _capacity = capacity;
        _isTerminal = LibC.isatty(fd) == 1;
        _ring = (byte*)NativeMemory.Alloc((nuint)capacity);
        _thread = HostThread.Start("vmm-writer", StackSize, Run);
    }

    /// <summary>Half of the ring is free again after it was full. Called on the writer's thread with its lock held: it may only
    /// post to an event loop.</summary>
    public Action? Drained { get; init; }

    /// <summary>A write failed; nothing is written from now on. Called once, as <see cref="Drained"/> is.</summary>
    public Action<ErrnoException>? Failed { get; init; }

    /// <summary>So many bytes were written. Called on the writer's thread with its lock held: it may only post to an event
    /// loop.</summary>
    public Action<int>? Wrote { get; init; }

    /// <summary>The error that ended all writing; null while there is none.</summary>
    public ErrnoException? Failure
    {
        get
        {
            lock (_lock)
            {
                return _failure;
            }
        }
    }

    /// <summary>Bytes taken so far.</summary>
    public long TotalBytes => Interlocked.Read(ref _total);

    /// <summary>Takes what fits. Never waits. Any thread.</summary>
    /// <returns>Bytes taken.</returns>
    public int Write(ReadOnlySpan<byte> bytes) => Write(bytes, inParts: true);

    /// <summary>Takes all or nothing.</summary>
    public bool TryWriteAll(ReadOnlySpan<byte> bytes) => Write(bytes, inParts: false) == bytes.Length;

    /// <summary>Waits until all is written or failed.</summary>
    /// <param name="patience">How long at most; infinite for ever.</param>
    /// <param name="interrupt">A descriptor that ends the waiting when it is readable; -1 for none.</param>
    /// <returns>False when something is left.</returns>
    public bool Flush(TimeSpan patience, int interrupt = -1)
    {
        var clock = Stopwatch.StartNew();
        pollfd* polls = stackalloc pollfd[2];
        polls[0] = new pollfd { fd = _idle.Number, events = LibC.POLLIN };
        polls[1] = new pollfd { fd = interrupt, events = LibC.POLLIN };
        while (true)
        {
            lock (_lock)
            {
                if (!_busy)
                {
                    return true;
                }
            }

            TimeSpan left = patience - clock.Elapsed;
            if (patience != Timeout.InfiniteTimeSpan && left <= TimeSpan.Zero)
            {
                return false;
            }

            // SAFETY: two structs on this stack. A negative descriptor is left out (poll(2)).
            int ready = LibC.Poll(
                polls, 2, patience == Timeout.InfiniteTimeSpan ? -1 : (int)Math.Ceiling(left.TotalMilliseconds));
            if (ready > 0 && polls[1].revents != 0)
            {
                return false;
            }

            _idle.Drain();
        }
    }

    /// <summary>There is no reader any more: drops the bytes in the ring and all later ones.</summary>
    public void Fail(ErrnoException error)
    {
        lock (_lock)
        {
            if (_failure is not null)
            {
                return;
            }

            _failure = error;
            if (!_stopping)
            {
                Failed?.Invoke(error);
            }
        }
    }

    /// <summary>Ends the thread. If it is in a write that does not return, what it uses is not freed.</summary>
    public void Dispose()
    {
        bool busy;
        lock (_lock)
        {
            _stopping = true;
            busy = _busy;
        }

        _wake.Signal();
        if (!busy && _thread.Join(TimeSpan.FromSeconds(1)))
        {
            _wake.Dispose();
            _idle.Dispose();
            NativeMemory.Free(_ring);
        }
    }

    private int Write(ReadOnlySpan<byte> bytes, bool inParts)
    {
        bool wake;
        int taken;
        lock (_lock)
        {
            if (_failure is not null)
            {
                // Dropped, but counted as written: the sender must not wait for ever.
                _total += bytes.Length;
                return bytes.Length;
            }

            int room = _capacity - _count;
            taken = bytes.Length <= room ? bytes.Length : inParts ? room : 0;
            _total += taken;
            int end = (_first + _count) % _capacity;
            int straight = Math.Min(taken, _capacity - end);

            // SAFETY: both parts lie within the ring, and in its free part.
            bytes[..straight].CopyTo(new Span<byte>(_ring + end, straight));
            bytes[straight..taken].CopyTo(new Span<byte>(_ring, taken - straight));
            _count += taken;
            _refused |= taken < bytes.Length;
            wake = !_busy && _count > 0;
            _busy |= wake;
        }

        if (wake)
        {
            _wake.Signal();
        }

        return taken;
    }

    private void Run()
    {
        while (true)
        {
            _wake.Wait();
            if (_stopping)
            {
                return;
            }

            Drain();
            _idle.Signal();
        }
    }

    private void Drain()
    {
        while (!_stopping)
        {
            int first;
            int length;
            lock (_lock)
            {
                if (_count == 0 || _failure is not null)
                {
                    _count = 0;
                    _busy = false;
                    return;
                }

                first = _first;
                length = Math.Min(Math.Min(_count, _capacity - _first), _isTerminal ? TerminalChunk : Chunk);
            }

            if (_isTerminal && HoldsBack())
            {
                Thread.Sleep(BackgroundLook);
                continue;
            }

            // SAFETY: first + length <= _capacity; only this thread takes bytes out, so they stay as they are.
            long written = LibC.write(_fd, _ring + first, length);
            if (written < 0)
            {
                HandleError(Marshal.GetLastPInvokeError());
                continue;
            }

            lock (_lock)
            {
                _first = (_first + (int)written) % _capacity;
                _count -= (int)written;
                Wrote?.Invoke((int)written);
                if (_refused && _count < _capacity / 2 && !_stopping)
                {
                    _refused = false;
                    Drained?.Invoke();
                }
            }
        }
    }

    private void HandleError(int errno)
    {
        if (errno == ErrnoException.EAGAIN)
        {
            // Another program made it non-blocking.
            var poll = new pollfd { fd = _fd, events = LibC.POLLOUT };

            // SAFETY: one struct on this stack.
            _ = LibC.Poll(&poll, 1, -1);
        }
        else if (errno != ErrnoException.EINTR)
        {
            Fail(new ErrnoException(_name, errno));
        }
    }

    /// <summary>Background programs must not write to this terminal (<c>stty tostop</c>). vmm ignores SIGTTOU, which would stop
    /// the whole process.</summary>
    private bool HoldsBack()
    {
        termios now;

        // SAFETY: a struct on this stack, with the layout of glibc's termios (LibCTests).
        return LibC.tcgetattr(_fd, &now) == 0 && (now.c_lflag & LibC.TOSTOP) != 0 && !JobControl.IsInForeground(_fd);
    }
}

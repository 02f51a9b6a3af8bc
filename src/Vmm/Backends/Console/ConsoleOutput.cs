using System.Runtime.InteropServices;
using Vmm.Devices.Legacy;
using Vmm.Host;

namespace Vmm.Backends.Console;

/// <summary>The guest's console bytes on their way to standard output: a ring of fixed size, filled by vCPU threads,
/// emptied by the event loop.</summary>
/// <remarks>
/// A vCPU never waits for a slow reader: when the ring is full the serial port tells the guest to wait. Nothing is
/// lost, nothing grows. Standard output is never made non-blocking, as it may be shared with other programs; epoll
/// says when there is room, and at most PIPE_BUF bytes are written then, which fit without waiting (pipe(7)).
/// </remarks>
internal sealed unsafe class ConsoleOutput : ISerialOutput, IDisposable
{
    private const int Capacity = 64 * 1024;
    private const int ResumeBelow = Capacity / 2;
    private const int ChunkSize = 4096;

    private readonly EventLoop _loop;
    private readonly int _fd;
    private readonly EventFd _wake = new();
    private readonly Lock _lock = new();
    private readonly byte* _ring = (byte*)NativeMemory.Alloc(Capacity);
    private EventLoop.Watch? _writable;
    private bool _writableArmed;
    private int _first;
    private int _count;
    private bool _draining;
    private bool _refused;
    private bool _broken;
    private long _total;

    public ConsoleOutput(EventLoop loop, int fd)
    {
        _loop = loop;
        _fd = fd;
        loop.Add(_wake.Number, LibC.EPOLLIN, _ =>
        {
            _wake.Drain();
            Drain();
        }, "console output");
        _writable = loop.TryAdd(fd, 0, events => OnWritable(events), "console output");
    }

    /// <summary>The ring has room again after it had none. On the event loop's thread.</summary>
    public event Action? Drained;

    /// <summary>Nobody reads the output any more (EPIPE). On the event loop's thread, once.</summary>
    public event Action<ErrnoException>? Broken;

    /// <summary>Bytes that the guest sent so far.</summary>
    public long TotalBytes => Interlocked.Read(ref _total);

    public int Write(ReadOnlySpan<byte> bytes)
    {
        bool wake;
        int taken;
        lock (_lock)
        {
            taken = Math.Min(bytes.Length, Capacity - _count);
            for (int i = 0; i < taken; i++)
            {
                // SAFETY: the index is below Capacity, which is how long the block is.
                _ring[(_first + _count + i) % Capacity] = bytes[i];
            }

            _count += taken;
            _total += taken;
            _refused |= taken < bytes.Length;
            wake = !_draining && _count > 0;
            _draining |= wake;
        }

        if (wake)
        {
            _wake.Signal();
        }

        return taken;
    }

    /// <summary>Writes what is left, waiting for a slow reader; after the vCPUs and the event loop have ended.</summary>
    public void Flush()
    {
        while (!_broken && _count > 0)
        {
            WriteChunk();
        }
    }

    public void Dispose()
    {
        _wake.Dispose();
        NativeMemory.Free(_ring);
    }

    private void OnWritable(uint events)
    {
        if ((events & (LibC.EPOLLERR | LibC.EPOLLHUP)) != 0 && (events & LibC.EPOLLOUT) == 0)
        {
            // The reader is gone: a write tells the same as EPIPE. Without one waiting, stop the hang-up's spinning.
            if (_count == 0 && _writable is not null)
            {
                _loop.Remove(_writable);
                _writable = null;
                Break(new ErrnoException("standard output", ErrnoException.EPIPE));
                return;
            }
        }

        Drain();
    }

    private void Drain()
    {
        while (true)
        {
            lock (_lock)
            {
                if (_count == 0 || _broken)
                {
                    _draining = false;
                    break;
                }
            }

            if (_writable is not null && !IsWritableNow())
            {
                Arm(true);
                return;
            }

            WriteChunk();
            bool resume;
            lock (_lock)
            {
                resume = _refused && _count < ResumeBelow;
                _refused &= !resume;
            }

            if (resume)
            {
                Drained?.Invoke();
            }
        }

        Arm(false);
    }

    private void Arm(bool armed)
    {
        if (_writable is not null && armed != _writableArmed)
        {
            _writableArmed = armed;
            _loop.Change(_writable, armed ? LibC.EPOLLOUT : 0);
        }
    }

    private bool IsWritableNow()
    {
        var poll = new LibC.Pollfd { Fd = _fd, Events = (short)LibC.EPOLLOUT };

        // SAFETY: one struct on this stack.
        return LibC.Poll(&poll, 1, 0) > 0;
    }

    private void WriteChunk()
    {
        int first;
        int length;
        lock (_lock)
        {
            first = _first;
            length = Math.Min(Math.Min(_count, Capacity - _first), ChunkSize);
        }

        // SAFETY: first + length <= Capacity; only this thread takes bytes out, so they stay as they are.
        nint written = LibC.Write(_fd, _ring + first, (nuint)length);
        if (written < 0)
        {
            int errno = Marshal.GetLastPInvokeError();
            if (errno is ErrnoException.EINTR)
            {
                return;
            }

            if (errno is ErrnoException.EAGAIN)
            {
                // Somebody else made it non-blocking: wait without spinning.
                var poll = new LibC.Pollfd { Fd = _fd, Events = (short)LibC.EPOLLOUT };
                _ = LibC.Poll(&poll, 1, 100);
                return;
            }

            Break(new ErrnoException("standard output", errno));
            return;
        }

        lock (_lock)
        {
            _first = (_first + (int)written) % Capacity;
            _count -= (int)written;
        }
    }

    private void Break(ErrnoException error)
    {
        lock (_lock)
        {
            if (_broken)
            {
                return;
            }

            _broken = true;
            _count = 0;
        }

        Broken?.Invoke(error);
    }
}

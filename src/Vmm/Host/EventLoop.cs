using System.Collections.Concurrent;
using System.Diagnostics;
using System.Runtime.InteropServices;
using Tmds.Linux;

namespace Vmm.Host;

/// <summary>The one thread on which all devices' host side runs: an epoll over their descriptors.</summary>
/// <remarks>
/// Handlers run on the loop's thread, one after another, and must not block. Registering, changing and removing is
/// safe from any thread; a handler that was removed may still run once if it was ready in the same turn, unless it
/// is removed on the loop's own thread. Nothing is allocated per event.
/// </remarks>
internal sealed unsafe class EventLoop : IDisposable
{
    public const string ThreadName = "vmm-devices";
    public const int StackSize = 256 * 1024;

    private const int EventsPerTurn = 32;

    private readonly FileDescriptor _epoll;
    private readonly EventFd _wake = new();
    private readonly ConcurrentQueue<Action> _posted = new();
    private readonly Lock _changing = new();
    private readonly List<Watch?> _watches = [];
    private readonly Stack<int> _free = new();
    private uint _added;
    private HostThread? _thread;
    private volatile bool _stopping;
    private volatile HeldLoop? _held;

    public EventLoop()
    {
        _epoll = new FileDescriptor(ErrnoException.Check(LibC.epoll_create1(LibC.EPOLL_CLOEXEC), "epoll_create1"));
        Add(_wake.Number, LibC.EPOLLIN, _ => RunPosted());
    }

    /// <summary>A handler threw an exception: the loop has stopped, and the machine must end.</summary>
    public event Action<Exception>? Failed;

    /// <summary>Gets how long each handler took; null for none. Set before the start.</summary>
    public ILoopObserver? Observer { get; set; }

    public bool IsLoopThread => _thread is { IsCurrent: true };

    /// <summary>One descriptor under watch.</summary>
    public sealed class Watch
    {
        internal Watch(int fd, int slot, uint number, Action<int> handler, string name)
        {
            Fd = fd;
            Slot = slot;
            Tag = ((ulong)number << 32) | (uint)slot;
            Handler = handler;
            Name = name;
        }

        public int Fd { get; }
        internal string Name { get; }
        internal int Slot { get; }

        /// <summary>What epoll returns with an event: the slot, and a number that distinguishes this watch from earlier ones in
        /// the slot. An event of a removed watch must not reach its successor.</summary>
        internal ulong Tag { get; }

        internal Action<int> Handler { get; }
        internal bool IsPaused { get; set; }
    }

    /// <summary>Calls <paramref name="handler"/> with the events that are ready. Level-triggered.</summary>
    /// <param name="name">Whose handler it is, for traces.</param>
    /// <returns>Null where the descriptor cannot be watched because it is always ready (a regular file).</returns>
    public Watch? TryAdd(int fd, int events, Action<int> handler, string name = "event loop")
    {
        lock (_changing)
        {
            int slot = _free.Count > 0 ? _free.Pop() : _watches.Count;
            var watch = new Watch(fd, slot, unchecked(_added++), handler, name);
            if (slot == _watches.Count)
            {
                _watches.Add(watch);
            }
            else
            {
                _watches[slot] = watch;
            }

            var change = new epoll_event { events = events, data = new epoll_data_t { u64 = watch.Tag } };
            if (LibC.epoll_ctl(_epoll.Number, LibC.EPOLL_CTL_ADD, fd, &change) == 0)
            {
                return watch;
            }

            int errno = Marshal.GetLastPInvokeError();
            _watches[slot] = null;
            _free.Push(slot);
            return errno == ErrnoException.EPERM ? null : throw new ErrnoException("epoll_ctl", errno);
        }
    }

    /// <inheritdoc cref="TryAdd"/>
    public Watch Add(int fd, int events, Action<int> handler, string name = "event loop") =>
        TryAdd(fd, events, handler, name) ?? throw new ErrnoException("epoll_ctl", ErrnoException.EPERM);

    /// <summary>Changes what is waited for. With 0, errors and hang-ups are still reported, again and again: <see
    /// cref="Pause"/> stops those too.</summary>
    public void Change(Watch watch, int events)
    {
        var change = new epoll_event { events = events, data = new epoll_data_t { u64 = watch.Tag } };
        ErrnoException.Check(LibC.epoll_ctl(_epoll.Number, LibC.EPOLL_CTL_MOD, watch.Fd, &change), "epoll_ctl");
    }

    /// <summary>Reports nothing until <see cref="Resume"/>, not even errors and hang-ups, which epoll cannot mask.
    /// </summary>
    public void Pause(Watch watch)
    {
        lock (_changing)
        {
            if (!watch.IsPaused && _watches[watch.Slot] == watch)
            {
                watch.IsPaused = true;
                ErrnoException.Check(LibC.epoll_ctl(_epoll.Number, LibC.EPOLL_CTL_DEL, watch.Fd, null), "epoll_ctl");
            }
        }
    }

    /// <summary>Ends a pause.</summary>
    public void Resume(Watch watch, int events)
    {
        lock (_changing)
        {
            if (watch.IsPaused && _watches[watch.Slot] == watch)
            {
                var change = new epoll_event { events = events, data = new epoll_data_t { u64 = watch.Tag } };
                ErrnoException.Check(LibC.epoll_ctl(_epoll.Number, LibC.EPOLL_CTL_ADD, watch.Fd, &change), "epoll_ctl");
                watch.IsPaused = false;
            }
        }
    }

    public void Remove(Watch watch)
    {
        lock (_changing)
        {
            if (_watches[watch.Slot] != watch)
            {
                return;
            }

            _ = LibC.epoll_ctl(_epoll.Number, LibC.EPOLL_CTL_DEL, watch.Fd, null);
            _watches[watch.Slot] = null;
            _free.Push(watch.Slot);
        }
    }

    /// <summary>Runs <paramref name="action"/> on the loop's thread, in order. For rare things: it allocates.</summary>
    public void Post(Action action)
    {
        _posted.Enqueue(action);
        _wake.Signal();
    }

    /// <summary>Holds the loop between two handlers: none runs, no timer's either, until <see cref="Release"/>.</summary>
    /// <param name="isQuiet">Called on the loop's thread until it returns true.</param>
    /// <param name="patience">For how long.</param>
    /// <returns>False when it did not return true in time, or the loop has ended: the loop is not held.</returns>
    public bool TryHold(Func<bool> isQuiet, TimeSpan patience)
    {
        long start = Stopwatch.GetTimestamp();
        while (true)
        {
            var attempt = new HeldLoop();
            Post(() => attempt.Run(this, isQuiet));
            while (!attempt.WaitForAnswer())
            {
                if (_stopping || _thread is not { IsAlive: true })
                {
                    return false;
                }
            }

            if (attempt.IsHeld)
            {
                return true;
            }

            if (_stopping || (patience != Timeout.InfiniteTimeSpan && Stopwatch.GetElapsedTime(start) > patience))
            {
                return false;
            }

            Thread.Sleep(1);        // the loop has to handle events meanwhile, for operations in flight to finish
        }
    }

    /// <summary>Lets a held loop go on.</summary>
    public void Release() => Interlocked.Exchange(ref _held, null)?.Release();

    /// <param name="early">A thread of that name and stack size that is there already; null to start one.</param>
    public void Start(BackgroundTask? early = null)
    {
        if (early is not null)
        {
            _thread = early.Thread;
            early.RunNext(Run);
            return;
        }

        _thread = HostThread.Start(ThreadName, StackSize, Run);
    }

    /// <summary>Ends the loop after the handlers of the current events and waits for its thread.</summary>
    public void Stop()
    {
        _stopping = true;
        _wake.Signal();
        Interlocked.MemoryBarrier();
        Release();
        if (_thread is not null && !IsLoopThread)
        {
            _thread.Join();
        }
    }

    public void Dispose()
    {
        Stop();
        _wake.Dispose();
        _epoll.Dispose();
    }

    /// <summary>Waits for events once and runs their handlers, on the calling thread. For callers without
    /// <see cref="Start"/>.</summary>
    /// <param name="timeoutMilliseconds">How long to wait for the first; -1 for ever.</param>
    /// <returns>Events handled.</returns>
    public int Turn(int timeoutMilliseconds)
    {
        epoll_event* ready = stackalloc epoll_event[EventsPerTurn];

        // SAFETY: room for as many events on this stack.
        int count = LibC.epoll_wait(_epoll.Number, ready, EventsPerTurn, timeoutMilliseconds);
        if (count < 0 && Marshal.GetLastPInvokeError() != ErrnoException.EINTR)
        {
            throw new ErrnoException("epoll_wait", Marshal.GetLastPInvokeError());
        }

        for (int i = 0; i < count; i++)
        {
            Watch? watch;
            lock (_changing)
            {
                watch = _watches[(int)(uint)ready[i].data.u64];
            }

            if (watch is not null && watch.Tag == ready[i].data.u64 && !watch.IsPaused)
            {
                Call(watch, ready[i].events);
            }
        }

        return Math.Max(count, 0);
    }

    private void Run()
    {
        try
        {
            while (!_stopping)
            {
                Turn(-1);
            }
        }
        catch (Exception error)
        {
            Failed?.Invoke(error);
        }
    }

    private void Call(Watch watch, int events)
    {
        if (Observer is null)
        {
            watch.Handler(events);
            return;
        }

        long start = Stopwatch.GetTimestamp();
        watch.Handler(events);
        Observer.Handled(watch.Name, start, Stopwatch.GetTimestamp() - start);
    }

    private void RunPosted()
    {
        _wake.Drain();
        while (_posted.TryDequeue(out Action? action))
        {
            action();
        }
    }

    /// <summary>One attempt to hold the loop.</summary>
    private sealed class HeldLoop
    {
        private readonly object _gate = new();      // a Monitor: both sides wait for its pulse
        private bool _answered;
        private bool _released;

        public bool IsHeld { get; private set; }

        /// <returns>False when there was no answer for a while.</returns>
        public bool WaitForAnswer()
        {
            lock (_gate)
            {
                return _answered || (Monitor.Wait(_gate, 50) && _answered);
            }
        }

        public void Release()
        {
            lock (_gate)
            {
                _released = true;
                Monitor.PulseAll(_gate);
            }
        }

        public void Run(EventLoop loop, Func<bool> isQuiet)
        {
            IsHeld = isQuiet();
            if (IsHeld)
            {
                // Stop sets its flag and then looks for this; so this is there before the flag is looked at.
                loop._held = this;
                Interlocked.MemoryBarrier();
            }

            lock (_gate)
            {
                _answered = true;
                Monitor.PulseAll(_gate);
                while (IsHeld && !_released && !loop._stopping)
                {
                    Monitor.Wait(_gate);
                }
            }
        }
    }
}

/// <summary>Observes the event loop.</summary>
internal interface ILoopObserver
{
    /// <summary>A handler has run, on the loop's thread.</summary>
    /// <param name="start">A Stopwatch timestamp.</param>
    /// <param name="duration">Nanoseconds.</param>
    void Handled(string name, long start, long duration);
}

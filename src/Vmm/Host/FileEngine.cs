namespace Vmm.Host;

/// <summary>Runs file operations beside the event loop: by io_uring, or by threads where that is forbidden.</summary>
/// <remarks>All members are called on the loop's thread, or on another before it starts and after it has ended. Nothing is
/// opened until <see cref="Prepare"/> or the first operation. Nothing is allocated per operation.</remarks>
/// <param name="errors">Gets the operations that failed; null to report them on standard error.</param>
internal sealed class FileEngine(EventLoop loop, bool allowIoUring = true, HostErrorLog? errors = null) : IDisposable
{
    /// <summary>Rounds within one call of <see cref="Submit"/> before other handlers of the loop run.</summary>
    private const int MaxRounds = 16;

    private readonly List<IFileIoOwner> _owners = [];
    private readonly List<HostFile> _files = [];
    private EventFd? _finished;
    private EventLoop.Watch? _watch;
    private IFileRunner? _runner;
    private FileIo? _first;
    private FileIo? _last;
    private bool _running;

    public HostErrorLog Errors { get; } =
        errors ?? new HostErrorLog(TimeProvider.System, line => Stderr.WriteLine($"vmm: {line}"));

    /// <summary>Operations started and not finished.</summary>
    public int InFlight { get; private set; }

    /// <summary>Is it io_uring? Null before <see cref="Prepare"/> and the first operation.</summary>
    public bool? UsesIoUring => _runner is null ? null : _runner is IoUringRunner;

    /// <summary>From now on <see cref="IFileIoOwner.Deliver"/> of this owner is called at the end of each batch.</summary>
    public void AddOwner(IFileIoOwner owner) => _owners.Add(owner);

    public void RemoveOwner(IFileIoOwner owner) => _owners.Remove(owner);

    public void AddFile(HostFile file)
    {
        _files.Add(file);
        _runner?.AddFile(file);
    }

    public void RemoveFile(HostFile file)
    {
        if (_files.Remove(file))
        {
            _runner?.RemoveFile(file);
        }
    }

    /// <summary>Opens everything that operations need, before the guest runs.</summary>
    public void Prepare() => _runner ??= CreateRunner();

    /// <summary>Takes an operation; it begins with <see cref="Submit"/>, and it is not finished within this call.</summary>
    public void Start(FileIo io)
    {
        InFlight++;
        Enqueue(io);
    }

    /// <summary>Begins all that was started, in one system call if possible, and brings back what is finished already.
    /// Called from within a completion it does nothing: the outer call does both.</summary>
    public void Submit()
    {
        if (_running || InFlight == 0)
        {
            return;
        }

        _running = true;
        Prepare();
        IFileRunner runner = _runner!;
        int rounds = 0;
        do
        {
            runner.Mute();      // what ends at once, as reads from the page cache do, is brought back below
            while (_first is { } io && runner.TryBegin(io))
            {
                Dequeue();
            }

            runner.Kick();
        }
        while ((Reap(runner) || runner.Unmute()) && ++rounds < MaxRounds);
        _running = false;
        if (rounds == MaxRounds)
        {
            runner.Unmute();
            _finished!.Signal();    // goes on with the loop's next turn
        }
    }

    /// <summary>Waits until nothing is in flight, without the loop.</summary>
    public void Drain()
    {
        Submit();
        while (InFlight > 0)
        {
            _runner!.Wait();
            Submit();
        }
    }

    public void Dispose()
    {
        if (_watch is not null)
        {
            loop.Remove(_watch);
            _watch = null;
        }

        _runner?.Dispose();
        _runner = null;
        _finished?.Dispose();
    }

    private IFileRunner CreateRunner()
    {
        _finished = new EventFd();
        _watch = loop.Add(_finished.Number, LibC.EPOLLIN, _ =>
        {
            _finished.Drain();
            Submit();
        }, "disk files");

        int errno = ErrnoException.ENOSYS;
        IFileRunner? runner = allowIoUring ? IoUringRunner.TryCreate(_finished, out errno) : null;
        if (runner is null)
        {
            if (allowIoUring)
            {
                string why = new ErrnoException("io_uring_setup", errno).Message;
                Stderr.WriteLine($"vmm: no io_uring on this host, disks use threads instead ({why})");
            }

            runner = new FileThreads(_finished);
        }

        foreach (HostFile file in _files)
        {
            runner.AddFile(file);
        }

        return runner;
    }

    /// <summary>Was there anything?</summary>
    private bool Reap(IFileRunner runner)
    {
        bool any = false;
        while (runner.TryReap(out long result) is { } io)
        {
            any = true;
            if (io.Advance(result))
            {
                InFlight--;
                io.File!.Finished(io);
            }
            else
            {
                Enqueue(io);
            }
        }

        for (int i = 0; any && i < _owners.Count; i++)
        {
            _owners[i].Deliver();
        }

        return any;
    }

    private void Enqueue(FileIo io)
    {
        io.Next = null;
        if (_last is null)
        {
            _first = io;
        }
        else
        {
            _last.Next = io;
        }

        _last = io;
    }

    private void Dequeue()
    {
        FileIo io = _first!;
        _first = io.Next;
        io.Next = null;
        if (_first is null)
        {
            _last = null;
        }
    }
}

/// <summary>Executes file operations for a <see cref="FileEngine"/>.</summary>
internal interface IFileRunner : IDisposable
{
    /// <summary>Takes an operation; false when the queue is full until one is reaped.</summary>
    bool TryBegin(FileIo io);

    /// <summary>Operations that end need not be signalled until <see cref="Unmute"/>: the caller polls for them.</summary>
    void Mute();

    /// <summary>From now on operations that end are signalled.</summary>
    /// <returns>Did one end meanwhile, possibly without a signal?</returns>
    bool Unmute();

    /// <summary>Makes sure that all operations taken so far are started.</summary>
    void Kick();

    /// <summary>Returns an operation that ended. Operations whose transfer was short are returned too: see
    /// <see cref="FileIo.Advance"/>.</summary>
    /// <param name="result">Bytes, or an error number below zero.</param>
    FileIo? TryReap(out long result);

    /// <summary>Blocks until there is something to reap.</summary>
    void Wait();

    void AddFile(HostFile file);

    void RemoveFile(HostFile file);
}

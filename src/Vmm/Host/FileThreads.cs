namespace Vmm.Host;

/// <summary>File operations on a few threads that block: for hosts where io_uring is forbidden.</summary>
internal sealed class FileThreads : IFileRunner
{
    private const int Threads = 4;
    private const int StackSize = 256 * 1024;

    private readonly object _gate = new();     // a Monitor: threads wait for its pulse
    private readonly EventFd _finished;
    private readonly Func<FileIo, long>? _call;
    private readonly HostThread[] _threads = new HostThread[Threads];
    private FileIo? _firstTodo;
    private FileIo? _lastTodo;
    private FileIo? _done;
    private bool _stopping;

    /// <param name="finished">Signalled for each operation that ends.</param>
    /// <param name="call">Does an operation; blocks. Null for system calls.</param>
    public FileThreads(EventFd finished, Func<FileIo, long>? call = null)
    {
        (_finished, _call) = (finished, call);
        try
        {
            for (int i = 0; i < Threads; i++)
            {
                _threads[i] = HostThread.Start("vmm-files", StackSize, Work);
            }
        }
        catch
        {
            Dispose();
            throw;
        }
    }

    public bool TryBegin(FileIo io)
    {
        lock (_gate)
        {
            io.Todo = null;
            if (_lastTodo is null)
            {
                _firstTodo = io;
            }
            else
            {
                _lastTodo.Todo = io;
            }

            _lastTodo = io;
            Monitor.Pulse(_gate);
        }

        return true;
    }

    public void Mute()
    {
    }

    public bool Unmute() => false;      // every operation that ends signals

    public void Kick()
    {
    }

    public FileIo? TryReap(out long result)
    {
        lock (_gate)
        {
            FileIo? io = _done;
            _done = io?.Todo;
            result = io?.ThreadResult ?? 0;
            return io;
        }
    }

    public void Wait()
    {
        lock (_gate)
        {
            while (_done is null)
            {
                Monitor.Wait(_gate);
            }
        }
    }

    public void AddFile(HostFile file)
    {
    }

    public void RemoveFile(HostFile file)
    {
    }

    public void Dispose()
    {
        lock (_gate)
        {
            _stopping = true;
            Monitor.PulseAll(_gate);
        }

        foreach (HostThread? thread in _threads)
        {
            thread?.Join();
        }
    }

    private void Work()
    {
        lock (_gate)
        {
            while (true)
            {
                while (_firstTodo is null)
                {
                    if (_stopping)
                    {
                        return;
                    }

                    Monitor.Wait(_gate);
                }

                FileIo io = _firstTodo;
                _firstTodo = io.Todo;
                _lastTodo = _firstTodo is null ? null : _lastTodo;
                Monitor.Exit(_gate);
                io.ThreadResult = _call is null ? HostFile.Call(io, io.File!.Number) : _call(io);
                Monitor.Enter(_gate);
                io.Todo = _done;
                _done = io;
                Monitor.PulseAll(_gate);
                _finished.Signal();
            }
        }
    }
}

namespace Vmm.Host;

/// <summary>File operations on a few threads that block: for hosts where io_uring is forbidden.</summary>
/// <param name="finished">Signalled for each operation that ends.</param>
/// <param name="call">Does an operation; blocks. Null for system calls.</param>
internal sealed class FileThreads(EventFd finished, Func<FileIo, long>? call = null) : IFileRunner
{
    private const int MaxThreads = 4;

    private readonly object _gate = new();     // a Monitor: threads wait for its pulse
    private readonly List<Thread> _threads = [];
    private FileIo? _firstTodo;
    private FileIo? _lastTodo;
    private FileIo? _done;
    private int _todo;      // operations that no thread has taken
    private int _free;      // threads that will take one next: idle, woken or just started
    private bool _stopping;

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
            _todo++;
            if (_todo <= _free)
            {
                Monitor.Pulse(_gate);
            }
            else if (_threads.Count < MaxThreads)
            {
                _free++;
                var thread = new Thread(Work, maxStackSize: 256 * 1024) { Name = "vmm-files", IsBackground = true };
                _threads.Add(thread);
                thread.Start();
            }
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

        foreach (Thread thread in _threads)
        {
            thread.Join();
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
                _todo--;
                _free--;
                Monitor.Exit(_gate);
                io.ThreadResult = call is null ? HostFile.Call(io, io.File!.Number) : call(io);
                Monitor.Enter(_gate);
                io.Todo = _done;
                _done = io;
                _free++;
                Monitor.PulseAll(_gate);
                finished.Signal();
            }
        }
    }
}

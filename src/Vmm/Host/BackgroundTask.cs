using System.Runtime.ExceptionServices;

namespace Vmm.Host;

/// <summary>A thread that makes a slow system call while its starter continues, and then does a second task, which saves
/// another thread.</summary>
internal sealed class BackgroundTask : IDisposable
{
    private readonly EventFd _finished = new(blocking: true);
    private readonly EventFd _resumed = new(blocking: true);
    private ExceptionDispatchInfo? _error;
    private Action? _next;

    /// <param name="name">The thread's name.</param>
    /// <param name="stackSize">Bytes of the thread's stack.</param>
    /// <param name="work">Runs once, immediately.</param>
    public BackgroundTask(string name, int stackSize, Action work)
    {
        Thread = HostThread.Start(name, stackSize, () => Run(work));
    }

    public HostThread Thread { get; }

    /// <summary>Waits until the work is done, and rethrows its exception. Called once.</summary>
    public void Finish()
    {
        _finished.Wait();
        _error?.Throw();
    }

    /// <summary>Runs a second task on the thread after the first; then the thread ends.</summary>
    /// <param name="next">Must not throw.</param>
    public void RunNext(Action next)
    {
        _next = next;
        _resumed.Signal();
    }

    /// <summary>Waits for the thread's end, so that what it uses may be disposed.</summary>
    public void Dispose()
    {
        _resumed.Signal();
        Thread.Join();
        _finished.Dispose();
        _resumed.Dispose();
    }

    private void Run(Action work)
    {
        try
        {
            work();
        }
        catch (Exception error)
        {
            _error = ExceptionDispatchInfo.Capture(error);
        }

        _finished.Signal();
        _resumed.Wait();
        _next?.Invoke();
    }
}

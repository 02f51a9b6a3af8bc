using System.Runtime.ExceptionServices;

namespace Vmm.Host;

/// <summary>A system call that takes long, made on a thread of its own while its caller goes on.</summary>
internal sealed class Alongside : IDisposable
{
    private const int StackSize = 128 * 1024;

    private readonly Thread _thread;
    private ExceptionDispatchInfo? _error;

    /// <param name="name">Of the thread.</param>
    /// <param name="work">Runs once, at once.</param>
    public Alongside(string name, Action work)
    {
        _thread = new Thread(() => Run(work), StackSize) { Name = name, IsBackground = true };
        _thread.Start();
    }

    /// <summary>Waits for the end of the work, and throws what it threw.</summary>
    public void Finish()
    {
        _thread.Join();
        _error?.Throw();
    }

    /// <summary>Waits, so that what the work uses may be let go of.</summary>
    public void Dispose() => _thread.Join();

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
    }
}

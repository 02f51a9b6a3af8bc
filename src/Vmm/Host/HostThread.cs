using System.Runtime.InteropServices;
using System.Text;
using Tmds.Linux;

namespace Vmm.Host;

/// <summary>A thread of vmm's own. It does not keep the process from ending.</summary>
/// <remarks>Made by pthread_create(3): <see cref="Thread.Start()"/> returns only when the new thread runs managed code, and two such
/// waits were a tenth of a start.</remarks>
internal sealed unsafe class HostThread
{
    // Native/threads.c; bound by the linker, as the C library is.
    private const string Library = "vmmnative";

    private readonly string _name;
    private readonly Action _work;
    private readonly Lock _joining = new();
    private nuint _thread;
    private volatile int _id;
    private volatile bool _hasEnded;
    private bool _isJoined;

    private HostThread(string name, Action work) => (_name, _work) = (name, work);

    /// <summary>Detaches a thread that was not joined, so that the C library frees its resources.</summary>
    ~HostThread()
    {
        if (_thread != 0)
        {
            vmm_thread_detach(_thread);
        }
    }

    public bool IsAlive => !_hasEnded;

    /// <summary>The caller runs on this thread.</summary>
    public bool IsCurrent => _id == Environment.CurrentManagedThreadId && !_hasEnded;

    /// <param name="name">As debuggers and /proc show it; at most 15 characters of ASCII.</param>
    /// <param name="stackSize">Bytes.</param>
    /// <exception cref="HostException">The host does not allow another thread.</exception>
    public static HostThread Start(string name, int stackSize, Action work)
    {
        var thread = new HostThread(name, work);
        GCHandle handle = GCHandle.Alloc(thread);
        nuint native;

        // SAFETY: the new thread frees the handle; without a thread it is freed below.
        if (vmm_thread_start(&native, (nuint)stackSize, &Enter, GCHandle.ToIntPtr(handle)) != 0)
        {
            handle.Free();
            throw new HostException(
                $"{name}: the host starts no further thread; look at its limits (ulimit -u and -v, pids.max of the cgroup)");
        }

        thread._thread = native;
        return thread;
    }

    /// <summary>Waits for the thread's end.</summary>
    public void Join() => Join(Timeout.InfiniteTimeSpan);

    /// <param name="patience">How long at most; infinite for ever.</param>
    /// <returns>False if the thread still runs.</returns>
    public bool Join(TimeSpan patience)
    {
        lock (_joining)
        {
            if (!_isJoined)
            {
                // Once only, and never after it was detached, which only the finalizer does.
                long limit = patience == Timeout.InfiniteTimeSpan ? -1 : patience.Ticks * TimeSpan.NanosecondsPerTick;
                _isJoined = vmm_thread_join(_thread, limit) == 0;
                _thread = _isJoined ? 0 : _thread;
            }

            return _isJoined;
        }
    }

    [UnmanagedCallersOnly]
    private static void* Enter(nint handle)
    {
        GCHandle own = GCHandle.FromIntPtr(handle);
        var thread = (HostThread)own.Target!;
        own.Free();
        thread.Run();
        return null;
    }

    [DllImport(Library)]
    private static extern int vmm_thread_start(
        nuint* thread, nuint stackSize, delegate* unmanaged<nint, void*> enter, nint argument);

    [DllImport(Library)]
    private static extern int vmm_thread_join(nuint thread, long nanoseconds);

    [DllImport(Library)]
    private static extern void vmm_thread_detach(nuint thread);

    private void Run()
    {
        Span<byte> name = stackalloc byte[16];
        Encoding.ASCII.GetBytes(_name.AsSpan(0, Math.Min(_name.Length, name.Length - 1)), name);
        fixed (byte* start = name)
        {
            _ = LibC.prctl(LibC.PR_SET_NAME, (nuint)start, 0, 0, 0);
        }

        _id = Environment.CurrentManagedThreadId;
        _work();
        _hasEnded = true;
    }
}

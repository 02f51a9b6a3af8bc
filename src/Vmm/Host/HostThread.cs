namespace Vmm.Host;

/// <summary>Threads of vmm's own. None keeps the process from ending.</summary>
internal static class HostThread
{
    /// <param name="name">As debuggers and /proc show it; at most 15 characters.</param>
    /// <param name="stackSize">Bytes.</param>
    /// <exception cref="HostException">The host does not allow another thread.</exception>
    public static Thread Start(string name, int stackSize, Action work)
    {
        var thread = new Thread(new ThreadStart(work), stackSize) { Name = name, IsBackground = true };
        try
        {
            thread.Start();
        }
        catch (Exception error) when (error is OutOfMemoryException or ThreadStartException)
        {
            // What the runtime makes of every error of pthread_create.
            throw new HostException(
                $"{name}: the host starts no further thread; look at its limits (ulimit -u and -v, pids.max of the cgroup)");
        }

        return thread;
    }
}

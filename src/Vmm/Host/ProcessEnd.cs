using System.Runtime.InteropServices;
using Tmds.Linux;

namespace Vmm.Host;

/// <summary>Waits for the end of a process by its pidfd (pidfd_open(2)).</summary>
internal static unsafe class ProcessEnd
{
    /// <summary>A signal that a handler takes (EINTR) does not end the wait.</summary>
    /// <param name="process">The pidfd.</param>
    /// <param name="patience">Infinite for as long as it takes.</param>
    /// <param name="stop">Readable when the wait is to end; -1 for nothing.</param>
    /// <returns>False when the time was over, or the wait is to end.</returns>
    public static bool Wait(FileDescriptor process, TimeSpan patience, int stop = -1)
    {
        long end = patience == Timeout.InfiniteTimeSpan ? long.MaxValue : Environment.TickCount64 + (long)patience.TotalMilliseconds;
        pollfd* polls = stackalloc pollfd[2];
        while (true)
        {
            polls[0] = new pollfd { fd = process.Number, events = LibC.POLLIN };
            polls[1] = new pollfd { fd = stop, events = LibC.POLLIN };
            long left = end - Environment.TickCount64;

            // SAFETY: two structs on this stack.
            int ready = LibC.Poll(polls, 2, left > int.MaxValue ? -1 : (int)Math.Max(0, left));
            if (ready >= 0)
            {
                return polls[0].revents != 0 && ready > 0;
            }

            if (Marshal.GetLastPInvokeError() is var errno and not ErrnoException.EINTR)
            {
                throw new ErrnoException("poll", errno);
            }
        }
    }
}

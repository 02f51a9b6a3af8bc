using Tmds.Linux;

namespace Vmm.Host;

/// <summary>Detects that the reader of standard output has gone, even while nothing is written: <c>vmm logs -f db | head -n 1</c> ends
/// with head.</summary>
/// <remarks>poll(2) reports POLLERR for a pipe without readers, POLLHUP for a terminal that was hung up, whatever is asked for; nothing for a
/// regular file.</remarks>
internal static unsafe class OutputReader
{
    private const int StandardOutput = 1;

    /// <summary>Runs an action that prints until its reader goes away, which is no error (<c>vmm ps --watch | head</c>).</summary>
    public static void Follow(Action print)
    {
        try
        {
            print();
        }
        catch (ErrnoException error) when (error.Errno == ErrnoException.EPIPE)
        {
            // The reader has gone.
        }
    }

    /// <summary>Waits for a time.</summary>
    /// <exception cref="ErrnoException">EPIPE: the reader of standard output has gone.</exception>
    public static void Wait(TimeSpan time) => Wait(-1, 0, time);

    /// <summary>Waits until a descriptor is ready.</summary>
    /// <param name="fd">-1 for none.</param>
    /// <param name="events">Events of poll(2).</param>
    /// <param name="time">The longest wait; <see cref="Timeout.InfiniteTimeSpan"/> for no limit.</param>
    /// <exception cref="ErrnoException">EPIPE: the reader of standard output has gone.</exception>
    public static void Wait(int fd, short events, TimeSpan time)
    {
        pollfd* polls = stackalloc pollfd[2];
        polls[0] = new pollfd { fd = StandardOutput };
        polls[1] = new pollfd { fd = fd, events = events };

        // SAFETY: two structs on this stack. A negative descriptor is left out (poll(2)).
        int ready = LibC.Poll(polls, 2, time == Timeout.InfiniteTimeSpan ? -1 : (int)Math.Ceiling(time.TotalMilliseconds));
        if (ready > 0 && polls[0].revents != 0)
        {
            throw new ErrnoException("standard output", ErrnoException.EPIPE);
        }
    }
}

using System.Buffers;
using System.Runtime.InteropServices;
using Tmds.Linux;

namespace Vmm.Host;

/// <summary>pipe(2).</summary>
internal static unsafe class Pipe
{
    public static (FileDescriptor Read, FileDescriptor Write) Create()
    {
        int* pair = stackalloc int[2];

        // SAFETY: room for two numbers on this stack.
        ErrnoException.Check(LibC.pipe2(pair, LibC.O_CLOEXEC), "pipe2");
        return (new FileDescriptor(pair[0]), new FileDescriptor(pair[1]));
    }

    /// <summary>Reads what is there, or comes in time.</summary>
    /// <param name="patience">Infinite for ever.</param>
    /// <param name="stop">Readable when the wait is to end; -1 for nothing.</param>
    /// <returns>Bytes; 0 once all writers have closed it, -1 for an error; null where the time was over, or the wait is to end.</returns>
    public static int? Read(FileDescriptor read, Span<byte> buffer, TimeSpan patience, int stop = -1)
    {
        while (true)
        {
            if (!Wait(read, LibC.POLLIN, patience, stop))
            {
                return null;
            }

            int count;
            fixed (byte* start = buffer)
            {
                // SAFETY: room for as much, pinned meanwhile.
                count = (int)LibC.read(read.Number, start, buffer.Length);
            }

            if (count >= 0 || !WasInterrupted)
            {
                return count;
            }
        }
    }

    /// <summary>Reads until all writers have closed it.</summary>
    /// <param name="patience">How long nothing may come.</param>
    /// <param name="most">Bytes.</param>
    /// <returns>Null where it takes longer, or there is more.</returns>
    public static byte[]? ReadAll(FileDescriptor read, TimeSpan patience, int most)
    {
        var content = new ArrayBufferWriter<byte>(Block);
        while (content.WrittenCount <= most)
        {
            if (Read(read, content.GetSpan(Block), patience) is not { } count)
            {
                return null;
            }

            if (ErrnoException.Check(count, "read") == 0)
            {
                return content.WrittenSpan.ToArray();
            }

            content.Advance(count);
        }

        return null;
    }

    /// <param name="patience">How long the reader may take nothing.</param>
    /// <returns>False where it takes longer, or has closed its end.</returns>
    public static bool TryWriteAll(FileDescriptor write, ReadOnlySpan<byte> content, TimeSpan patience)
    {
        ErrnoException.Check(LibC.fcntl(write.Number, LibC.F_SETFL, LibC.O_NONBLOCK), "fcntl");
        while (!content.IsEmpty)
        {
            if (!Wait(write, LibC.POLLOUT, patience))
            {
                return false;
            }

            int count;
            fixed (byte* start = content)
            {
                // SAFETY: pinned meanwhile.
                count = (int)LibC.write(write.Number, start, content.Length);
            }

            if (count < 0 && !WasInterrupted)
            {
                return false;
            }

            content = content[Math.Max(0, count)..];
        }

        return true;
    }

    private const int Block = 64 << 10;

    private static bool WasInterrupted => Marshal.GetLastPInvokeError() == ErrnoException.EINTR;

    /// <returns>False where the time was over, or the wait is to end.</returns>
    private static bool Wait(FileDescriptor end, short events, TimeSpan patience, int stop = -1)
    {
        pollfd* polls = stackalloc pollfd[2];
        long last = Environment.TickCount64 + (long)patience.TotalMilliseconds;
        while (true)
        {
            polls[0] = new pollfd { fd = end.Number, events = events };
            polls[1] = new pollfd { fd = stop, events = LibC.POLLIN };
            int left = patience == Timeout.InfiniteTimeSpan ? -1 : (int)Math.Max(0, last - Environment.TickCount64);

            // SAFETY: two structs on this stack.
            int ready = LibC.Poll(polls, 2, left);
            if (ready >= 0 || !WasInterrupted)
            {
                return ready < 0 || (ready > 0 && polls[1].revents == 0);      // what is wrong with it the next call tells
            }
        }
    }
}

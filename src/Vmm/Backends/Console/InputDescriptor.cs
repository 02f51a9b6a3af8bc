using System.Runtime.InteropServices;
using Tmds.Linux;
using Vmm.Host;

namespace Vmm.Backends.Console;

/// <summary>Standard input, read without waiting: poll(2) may report input that another program with the same terminal or pipe
/// then reads first.</summary>
/// <remarks>O_NONBLOCK is not possible: it belongs to the open file description, which the shell shares. A terminal is opened
/// again instead; pipes and sockets support RWF_NOWAIT. Where neither is possible, a read may wait when another program reads
/// at the same moment. See docs/hosts.md, "Terminals and pipes".</remarks>
internal sealed unsafe class InputDescriptor : IDisposable
{
    private readonly FileDescriptor? _reopened;
    private bool _canNotWait = true;

    public InputDescriptor(int fd, bool isTerminal)
    {
        Number = fd;
        if (isTerminal)
        {
            int again = LibC.open(
                $"/proc/self/fd/{fd}", LibC.O_RDONLY | LibC.O_NONBLOCK | LibC.O_NOCTTY | LibC.O_CLOEXEC, 0);
            if (again >= 0)
            {
                _reopened = new FileDescriptor(again);
                Number = again;
                _canNotWait = false;    // this descriptor does not wait by itself
            }
        }
    }

    public int Number { get; }

    /// <summary>Reads what is available now.</summary>
    /// <returns>Bytes; 0 at the end; -1 for an error, which is EAGAIN where there is nothing.</returns>
    public long Read(Span<byte> buffer)
    {
        fixed (byte* start = buffer)
        {
            if (_canNotWait)
            {
                var vector = new iovec { iov_base = start, iov_len = buffer.Length };

                // SAFETY: one vector on this stack, over a buffer that is pinned.
                long got = LibC.preadv2(Number, &vector, 1, -1, LibC.RWF_NOWAIT);
                if (got >= 0 || Marshal.GetLastPInvokeError() is not (ErrnoException.EOPNOTSUPP or ErrnoException.ENOSYS))
                {
                    return got;
                }

                _canNotWait = false;
            }

            return ReadWaiting(buffer);
        }
    }

    /// <summary>As <see cref="Read"/>, for regular files: they never wait long, and epoll does not report them.
    /// </summary>
    public long ReadWaiting(Span<byte> buffer)
    {
        fixed (byte* start = buffer)
        {
            // SAFETY: the whole buffer, which is pinned.
            return LibC.read(Number, start, buffer.Length);
        }
    }

    public void Dispose() => _reopened?.Dispose();
}

using System.Runtime.InteropServices;
using Vmm.Host;

namespace Vmm.Backends.Console;

/// <summary>Standard input, read without waiting: poll(2) may say that there is something, and another program that has the
/// same terminal or pipe takes it first.</summary>
/// <remarks>O_NONBLOCK would do it, but belongs to the open file description, which is the shell's as well. A terminal is
/// opened anew for that; pipes and sockets know RWF_NOWAIT. Not all kernels and users can do both: a read may then wait,
/// when somebody else reads in the same moment. See docs/hosts.md, "Terminals and pipes".</remarks>
internal sealed unsafe class InputDescriptor : IDisposable
{
    private readonly FileDescriptor? _reopened;
    private bool _canNotWait = true;

    public InputDescriptor(int fd, bool isTerminal)
    {
        Number = fd;
        if (isTerminal)
        {
            int again = LibC.Open(
                $"/proc/self/fd/{fd}", LibC.O_RDONLY | LibC.O_NONBLOCK | LibC.O_NOCTTY | LibC.O_CLOEXEC, 0);
            if (again >= 0)
            {
                _reopened = new FileDescriptor(again);
                Number = again;
                _canNotWait = false;    // it does not wait as it is
            }
        }
    }

    public int Number { get; }

    /// <summary>What is there now.</summary>
    /// <returns>Bytes; 0 at the end; -1 for an error, which is EAGAIN where there is nothing.</returns>
    public nint Read(Span<byte> buffer)
    {
        fixed (byte* start = buffer)
        {
            if (_canNotWait)
            {
                var vector = new LibC.Iovec { Base = (nint)start, Length = (nuint)buffer.Length };

                // SAFETY: one vector on this stack, over a buffer that is pinned.
                nint got = LibC.Preadv2(Number, &vector, 1, -1, LibC.RWF_NOWAIT);
                if (got >= 0 || Marshal.GetLastPInvokeError() is not (ErrnoException.EOPNOTSUPP or ErrnoException.ENOSYS))
                {
                    return got;
                }

                _canNotWait = false;
            }

            return ReadWaiting(buffer);
        }
    }

    /// <summary>As <see cref="Read"/>, for regular files: they never wait long, and nothing tells when to come again.
    /// </summary>
    public nint ReadWaiting(Span<byte> buffer)
    {
        fixed (byte* start = buffer)
        {
            // SAFETY: the whole buffer, which is pinned.
            return LibC.Read(Number, start, (nuint)buffer.Length);
        }
    }

    public void Dispose() => _reopened?.Dispose();
}

using System.Runtime.InteropServices;

namespace Vmm.Host;

/// <summary>eventfd(2): a counter that wakes an epoll or an irqfd.</summary>
internal sealed unsafe class EventFd : IDisposable
{
    private readonly FileDescriptor _fd;

    /// <param name="blocking">For <see cref="Wait"/>; else for an epoll.</param>
    public EventFd(bool blocking = false)
    {
        _fd = new FileDescriptor(
            ErrnoException.Check(LibC.eventfd(0, LibC.EFD_CLOEXEC | (blocking ? 0 : LibC.EFD_NONBLOCK)), "eventfd"));
        Number = _fd.Number;
    }

    public int Number { get; }

    /// <summary>Adds one. A full counter (EAGAIN) is as good as a signal.</summary>
    public void Signal()
    {
        ulong one = 1;

        // SAFETY: eight bytes of our own stack; the descriptor lives as long as this object.
        if (LibC.write(Number, &one, sizeof(ulong)) < 0 && Marshal.GetLastPInvokeError() != ErrnoException.EAGAIN)
        {
            throw new ErrnoException("write to eventfd", Marshal.GetLastPInvokeError());
        }
    }

    /// <summary>Sets the counter to zero; was it above?</summary>
    public bool Drain()
    {
        ulong value;

        // SAFETY: as above.
        return LibC.read(Number, &value, sizeof(ulong)) == sizeof(ulong);
    }

    /// <summary>Waits until the counter is above zero, and sets it to zero.</summary>
    public void Wait()
    {
        while (!Drain())
        {
            int errno = Marshal.GetLastPInvokeError();
            if (errno != ErrnoException.EINTR)
            {
                throw new ErrnoException("read of eventfd", errno);
            }
        }
    }

    public void Dispose() => _fd.Dispose();
}

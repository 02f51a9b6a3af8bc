using System.Runtime.InteropServices;

namespace Vmm.Host;

/// <summary>eventfd(2): a counter that wakes an epoll or an irqfd.</summary>
internal sealed unsafe class EventFd : IDisposable
{
    private readonly FileDescriptor _fd;

    public EventFd()
    {
        _fd = new FileDescriptor(
            ErrnoException.Check(LibC.Eventfd(0, LibC.EFD_CLOEXEC | LibC.EFD_NONBLOCK), "eventfd"));
        Number = _fd.Number;
    }

    public int Number { get; }

    /// <summary>Adds one. A full counter (EAGAIN) is as good as a signal.</summary>
    public void Signal()
    {
        ulong one = 1;

        // SAFETY: eight bytes of our own stack; the descriptor lives as long as this object.
        if (LibC.Write(Number, &one, sizeof(ulong)) < 0 && Marshal.GetLastPInvokeError() != ErrnoException.EAGAIN)
        {
            throw new ErrnoException("write to eventfd", Marshal.GetLastPInvokeError());
        }
    }

    /// <summary>Sets the counter to zero; was it above?</summary>
    public bool Drain()
    {
        ulong value;

        // SAFETY: as above.
        return LibC.Read(Number, &value, sizeof(ulong)) == sizeof(ulong);
    }

    public void Dispose() => _fd.Dispose();
}

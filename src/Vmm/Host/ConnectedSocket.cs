using System.Runtime.InteropServices;
using Tmds.Linux;
using Vmm.Devices.Virtio;

namespace Vmm.Host;

/// <summary>A connected stream socket. It does not block: 0 means that the call would have blocked, negative that the
/// connection is closed in this direction.</summary>
internal sealed unsafe class ConnectedSocket(FileDescriptor socket) : IDisposable
{
    public int Number { get; } = socket.Number;

    /// <returns>Bytes sent.</returns>
    public int Send(ReadOnlySpan<IoVector> data)
    {
        fixed (IoVector* vectors = data)
        {
            // SAFETY: each vector lies in guest memory, or is the caller's own.
            return Sent(LibC.writev(Number, (iovec*)vectors, data.Length));
        }
    }

    /// <returns>Bytes sent.</returns>
    public int Send(ReadOnlySpan<byte> data)
    {
        fixed (byte* start = data)
        {
            // SAFETY: the span is in place meanwhile.
            return Sent(LibC.write(Number, start, data.Length));
        }
    }

    /// <param name="buffers">Room for something.</param>
    /// <returns>Bytes received.</returns>
    public int Receive(ReadOnlySpan<IoVector> buffers)
    {
        fixed (IoVector* vectors = buffers)
        {
            // SAFETY: as above.
            return Received(LibC.readv(Number, (iovec*)vectors, buffers.Length));
        }
    }

    /// <summary>Is there something to receive? Nothing is consumed.</summary>
    public int Peek()
    {
        byte next;

        // SAFETY: room for one byte on this stack.
        return Received(LibC.recv(Number, &next, 1, LibC.MSG_PEEK | LibC.MSG_DONTWAIT));
    }

    /// <inheritdoc cref="Receive(ReadOnlySpan{IoVector})"/>
    public int Receive(Span<byte> buffer)
    {
        fixed (byte* start = buffer)
        {
            // SAFETY: the span is in place meanwhile.
            return Received(LibC.read(Number, start, buffer.Length));
        }
    }

    /// <summary>Shuts down sending.</summary>
    public void EndSend() => _ = LibC.shutdown(Number, LibC.SHUT_WR);

    public void Dispose() => socket.Dispose();

    private static int Sent(long sent) => sent >= 0 ? (int)sent : WouldWait() ? 0 : -1;

    private static int Received(long got) => got > 0 ? (int)got : got < 0 && WouldWait() ? 0 : -1;

    private static bool WouldWait() => Marshal.GetLastPInvokeError() is ErrnoException.EAGAIN or ErrnoException.EINTR;
}

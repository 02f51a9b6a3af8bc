using System.Buffers.Binary;
using System.Runtime.InteropServices;
using Tmds.Linux;
using Vmm.Devices.Virtio;
using Vmm.Devices.Virtio.Net;

namespace Vmm.Host;

/// <summary>Ethernet frames over a stream socket: the length in four bytes, big-endian, and then the frame. passt speaks
/// that (passt.1, <c>--fd</c>), and QEMU's <c>-netdev stream</c>.</summary>
/// <remarks>Two buffers of fixed size. What is received comes in pieces as long as the buffer, many frames with one
/// system call; frames are sent without a copy, one call for each, and only what a full socket did not take is copied. On one
/// thread at a time.</remarks>
internal sealed unsafe class FrameStream : IDisposable
{
    private const int PrefixBytes = sizeof(uint);
    private const int LeastFrameBytes = 14;     // an Ethernet header
    private const int BufferBytes = 256 << 10;

    private readonly FileDescriptor _socket;
    private readonly byte[] _received = GC.AllocateUninitializedArray<byte>(BufferBytes, pinned: true);
    private readonly byte[] _unsent = GC.AllocateUninitializedArray<byte>(PrefixBytes + VirtioNet.MostFrameBytes, pinned: true);
    private readonly byte[] _prefix = GC.AllocateArray<byte>(PrefixBytes, pinned: true);
    private readonly IoVector[] _vectors = GC.AllocateUninitializedArray<IoVector>(LibC.IOV_MAX, pinned: true);
    private int _start;
    private int _end;
    private int _unsentStart;
    private int _unsentEnd;

    /// <param name="socket">A connected stream socket that does not block; owned from now on.</param>
    public FrameStream(FileDescriptor socket)
    {
        _socket = socket;
        Number = socket.Number;
    }

    public int Number { get; }

    /// <summary>The other end has closed the connection, or has sent something that is not a frame. Nothing more is received or
    /// sent.</summary>
    public bool IsOver { get; private set; }

    /// <summary>The error; null when the other end just closed the connection.</summary>
    public string? Fault { get; private set; }

    /// <summary>Is there a frame that was received already, so that the socket need not have anything?</summary>
    public bool HasFrame => _end - _start >= PrefixBytes && _end - _start - PrefixBytes >= NextLength;

    /// <summary>Is the rest of a frame waiting until the socket takes more?</summary>
    public bool HasUnsent => _unsentStart < _unsentEnd;

    /// <summary>Frames received that were too short.</summary>
    public long Runts { get; private set; }

    private uint NextLength => BinaryPrimitives.ReadUInt32BigEndian(_received.AsSpan(_start));

    /// <summary>Takes the next frame, asking the socket at most once.</summary>
    /// <param name="frame">Good until the next call.</param>
    /// <returns>False when there is none yet, or <see cref="IsOver"/>.</returns>
    public bool TryReceive(out ReadOnlySpan<byte> frame)
    {
        frame = default;
        if (!HasFrame && (IsOver || !Fill()))
        {
            return false;
        }

        while (HasFrame)
        {
            int length = (int)NextLength;
            frame = _received.AsSpan(_start + PrefixBytes, length);
            _start += PrefixBytes + length;
            if (length >= LeastFrameBytes)
            {
                return true;
            }

            Runts++;
        }

        return false;
    }

    /// <summary>Sends a frame, of up to <see cref="VirtioNet.MostFrameBytes"/>, now or not at all.</summary>
    /// <returns>False when the socket is full: call <see cref="Flush"/> once it is writable, then this again. True also when
    /// the connection is closed.</returns>
    public bool TrySend(ReadOnlySpan<IoVector> frame)
    {
        if (HasUnsent)
        {
            return false;
        }

        nuint length = 0;
        foreach (IoVector part in frame)
        {
            length += part.Length;
        }

        BinaryPrimitives.WriteUInt32BigEndian(_prefix, (uint)length);
        _vectors[0] = new IoVector(Marshal.UnsafeAddrOfPinnedArrayElement(_prefix, 0), PrefixBytes);
        frame.CopyTo(_vectors.AsSpan(1));
        int count = frame.Length + 1;

        // SAFETY: count vectors, each of memory that the caller vouches for or of a pinned array.
        long sent = LibC.writev(Number, (iovec*)Marshal.UnsafeAddrOfPinnedArrayElement(_vectors, 0), count);
        if (sent < 0)
        {
            return !IsRoomMissing();
        }

        if ((nuint)sent < length + PrefixBytes)
        {
            _unsentStart = 0;
            _unsentEnd = IoVectors.CopyFrom(_vectors.AsSpan(0, count), (nuint)sent, _unsent);
        }

        return true;
    }

    /// <summary>Sends the rest of the last frame. True when nothing is left.</summary>
    public bool Flush()
    {
        while (HasUnsent)
        {
            // SAFETY: the rest of a pinned array.
            long sent = LibC.write(
                Number, (void*)Marshal.UnsafeAddrOfPinnedArrayElement(_unsent, _unsentStart), _unsentEnd - _unsentStart);
            if (sent < 0)
            {
                if (IsRoomMissing())
                {
                    return false;
                }

                _unsentStart = _unsentEnd;      // over
            }
            else
            {
                _unsentStart += (int)sent;
            }
        }

        return true;
    }

    /// <summary>Ends the connection and waits until the other end has closed it too.</summary>
    /// <returns>False when the time was over first.</returns>
    public bool HangUp(TimeSpan patience)
    {
        _ = LibC.shutdown(Number, LibC.SHUT_WR);

        // Without events only a hang-up is reported.
        var poll = new pollfd { fd = Number };

        long end = Environment.TickCount64 + (long)patience.TotalMilliseconds;
        int ready;
        do
        {
            // SAFETY: one struct on this stack. A signal that comes meanwhile (SIGCHLD) ends poll, too.
            ready = LibC.Poll(&poll, 1, (int)Math.Max(0, end - Environment.TickCount64));
        }
        while (ready < 0 && Marshal.GetLastPInvokeError() == ErrnoException.EINTR);

        return ready > 0;
    }

    public void Dispose() => _socket.Dispose();

    /// <summary>One read(2); is there a whole frame now? Only called when there was none, so that what is left is
    /// shorter than one.</summary>
    private bool Fill()
    {
        _received.AsSpan(_start, _end - _start).CopyTo(_received);
        _end -= _start;
        _start = 0;

        // SAFETY: the rest of a pinned array.
        long got = LibC.read(
            Number, (void*)Marshal.UnsafeAddrOfPinnedArrayElement(_received, _end), _received.Length - _end);
        if (got < 0)
        {
            _ = IsRoomMissing();
            return false;
        }

        _end += (int)got;
        if (got == 0)
        {
            IsOver = true;
        }
        else if (_end >= PrefixBytes && NextLength > VirtioNet.MostFrameBytes)
        {
            Break($"a frame of {NextLength} bytes");
        }

        return HasFrame && !IsOver;
    }

    private void Break(string fault)
    {
        IsOver = true;
        Fault = fault;
    }

    /// <summary>Was it only that the call would have waited? Anything else ends the connection.</summary>
    private bool IsRoomMissing()
    {
        int errno = Marshal.GetLastPInvokeError();
        if (errno is ErrnoException.EAGAIN or ErrnoException.EINTR)
        {
            return true;
        }

        IsOver = true;
        if (errno is not (ErrnoException.EPIPE or ErrnoException.ECONNRESET))
        {
            Fault = Marshal.GetPInvokeErrorMessage(errno);
        }

        return false;
    }
}

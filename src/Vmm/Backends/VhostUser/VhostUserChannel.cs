using System.Buffers.Binary;
using System.Runtime.InteropServices;
using Tmds.Linux;
using Vmm.Devices.Virtio;
using Vmm.Host;

namespace Vmm.Backends.VhostUser;

/// <summary>Messages of vhost-user over a Unix stream socket: one request at a time, each with its answer if it has one. All
/// numbers are little-endian.</summary>
/// <remarks>
/// <code>
/// request:32   flags:32 (1..0 version 1, 2 reply, 3 reply wanted)   payload's length:32   payload
/// </code>
/// Nothing of what the back end says is trusted: an answer to another request, of another length, or none within
/// the time allowed ends the connection.
/// </remarks>
/// <param name="socket">Connected; does not block.</param>
/// <param name="patience">How long an answer may take.</param>
internal sealed unsafe class VhostUserChannel(FileDescriptor socket, TimeSpan patience) : IDisposable
{
    /// <summary>The most descriptors that come with a message: one for each region of memory.</summary>
    public const int MostDescriptors = 8;

    private const int HeaderBytes = 12, MostPayload = 512;
    private const uint Version = 1, Reply = 1 << 2, WantsReply = 1 << 3;

    private readonly Lock _turn = new();
    private readonly byte[] _message = new byte[HeaderBytes + MostPayload];

    public int Number => socket.Number;

    /// <summary>How long an answer may take.</summary>
    public TimeSpan Patience { get; set; } = patience;

    /// <summary>REPLY_ACK is negotiated: the back end answers each request with success or failure.</summary>
    public bool Acknowledges { get; set; }

    /// <summary>Sends a request without an answer, and waits for the acknowledgement if that is negotiated.</summary>
    /// <param name="descriptors">Passed with it (SCM_RIGHTS).</param>
    /// <exception cref="VhostUserException">The back end has closed the connection, or refuses.</exception>
    public void Send(VhostUserRequest request, ReadOnlySpan<byte> payload, params ReadOnlySpan<int> descriptors)
    {
        lock (_turn)
        {
            Write(request, Acknowledges ? Version | WantsReply : Version, payload, descriptors);
            if (Acknowledges && BinaryPrimitives.ReadUInt64LittleEndian(Answer(request, sizeof(ulong))) != 0)
            {
                throw new VhostUserException($"it refused {request}");
            }
        }
    }

    /// <summary>Sends a request that has an answer of its own.</summary>
    /// <param name="answer">Filled with the answer's payload, which has to be that long.</param>
    /// <exception cref="VhostUserException">The back end has closed the connection, or its answer is invalid.</exception>
    /// <param name="descriptors">Passed with it (SCM_RIGHTS).</param>
    public void Ask(VhostUserRequest request, ReadOnlySpan<byte> payload, Span<byte> answer, params ReadOnlySpan<int> descriptors)
    {
        lock (_turn)
        {
            Write(request, Version, payload, descriptors);
            Answer(request, answer.Length).CopyTo(answer);
        }
    }

    /// <summary>A request whose answer is one number.</summary>
    /// <inheritdoc cref="Ask(VhostUserRequest, ReadOnlySpan{byte}, Span{byte}, ReadOnlySpan{int})"/>
    public ulong Ask(VhostUserRequest request, ReadOnlySpan<byte> payload = default, params ReadOnlySpan<int> descriptors)
    {
        Span<byte> answer = stackalloc byte[sizeof(ulong)];
        Ask(request, payload, answer, descriptors);
        return BinaryPrimitives.ReadUInt64LittleEndian(answer);
    }

    /// <summary>Shuts the connection down, which the event loop sees. Any thread.</summary>
    public void Close() => _ = LibC.shutdown(Number, LibC.SHUT_RDWR);

    public void Dispose() => socket.Dispose();

    private void Write(VhostUserRequest request, uint flags, ReadOnlySpan<byte> payload, ReadOnlySpan<int> descriptors)
    {
        Span<byte> message = _message.AsSpan(0, HeaderBytes + payload.Length);
        BinaryPrimitives.WriteUInt32LittleEndian(message, (uint)request);
        BinaryPrimitives.WriteUInt32LittleEndian(message[4..], flags);
        BinaryPrimitives.WriteUInt32LittleEndian(message[8..], (uint)payload.Length);
        payload.CopyTo(message[HeaderBytes..]);

        const int MostControl = 16 + (MostDescriptors * sizeof(int));
        ulong* control = stackalloc ulong[MostControl / sizeof(ulong)];
        var header = (cmsghdr*)control;
        *header = new cmsghdr
        {
            cmsg_len = (socklen_t)(sizeof(cmsghdr) + (descriptors.Length * sizeof(int))),
            cmsg_level = LibC.SOL_SOCKET,
            cmsg_type = LibC.SCM_RIGHTS,
        };

        // SAFETY: CopyTo throws rather than pass the room of MostDescriptors behind the header.
        descriptors.CopyTo(new Span<int>(header + 1, MostDescriptors));
        fixed (byte* start = message)
        {
            var vector = new IoVector((nint)start, (nuint)message.Length);
            var sent = new msghdr
            {
                msg_iov = (iovec*)&vector,
                msg_iovlen = 1,
                msg_control = descriptors.IsEmpty ? null : control,

                // CMSG_SPACE: rounded up to eight.
                msg_controllen = descriptors.IsEmpty ? 0 : ((uint)header->cmsg_len + 7) & ~7u,
            };

            // SAFETY: all of it is on this stack, or pinned, for the length of the call. The kernel takes a message this
            // short whole, or not at all.
            long count = LibC.sendmsg(Number, &sent, LibC.MSG_NOSIGNAL);
            if (count != message.Length)
            {
                throw new VhostUserException(
                    count < 0 && Marshal.GetLastPInvokeError() == ErrnoException.EAGAIN
                        ? "it does not read its messages"
                        : "it closed the connection");
            }
        }
    }

    private ReadOnlySpan<byte> Answer(VhostUserRequest request, int length)
    {
        long end = Environment.TickCount64 + (long)Patience.TotalMilliseconds;
        Span<byte> header = _message.AsSpan(0, HeaderBytes);
        Receive(header, request, end);
        if (BinaryPrimitives.ReadUInt32LittleEndian(header) != (uint)request
            || (BinaryPrimitives.ReadUInt32LittleEndian(header[4..]) & (Reply | 3)) != (Reply | Version)
            || BinaryPrimitives.ReadUInt32LittleEndian(header[8..]) != (uint)length)
        {
            throw new VhostUserException($"its answer to {request} is invalid");
        }

        Span<byte> payload = _message.AsSpan(HeaderBytes, length);
        Receive(payload, request, end);
        return payload;
    }

    private void Receive(Span<byte> buffer, VhostUserRequest request, long end)
    {
        while (!buffer.IsEmpty)
        {
            var poll = new pollfd { fd = Number, events = LibC.POLLIN };

            // SAFETY: a struct on this stack.
            int ready = LibC.Poll(&poll, 1, (int)Math.Max(0, end - Environment.TickCount64));
            if (ready == 0)
            {
                throw new VhostUserException($"it has not answered {request} for {Patience.TotalSeconds:0} seconds");
            }

            long count;
            fixed (byte* start = buffer)
            {
                // SAFETY: pinned meanwhile. Descriptors that come along are dropped by the kernel.
                count = ready < 0 ? -1 : LibC.recv(Number, start, buffer.Length, LibC.MSG_DONTWAIT);
            }

            if (count > 0)
            {
                buffer = buffer[(int)count..];
            }
            else if (count == 0 || Marshal.GetLastPInvokeError() is not (ErrnoException.EAGAIN or ErrnoException.EINTR))
            {
                throw new VhostUserException("it closed the connection");
            }
        }
    }
}

/// <summary>A back end broke the protocol, or closed the connection. The message is a part of a line:
/// "it closed the connection".</summary>
internal sealed class VhostUserException(string message) : Exception(message);

using System.Buffers.Binary;
using System.Runtime.InteropServices;
using Tmds.Linux;
using Vmm.Backends.VhostUser;
using Vmm.Devices.Virtio;
using Vmm.Host;

namespace Vmm.Tests.VhostUser;

/// <summary>The other end of a vhost-user connection, in this process. It answers as the protocol says, unless told
/// otherwise, and notes what it was asked.</summary>
internal sealed unsafe partial class FakeBackend : IDisposable
{
    private const ulong Offered = (1UL << 32) | (1UL << 30) | (1UL << 29) | (1UL << 28) | (1UL << 26);

    private const int MostState = 1 << 20;
    private static readonly TimeSpan Patience = TimeSpan.FromSeconds(60);

    private readonly FileDescriptor _socket;
    private readonly Thread _thread;
    private Task? _transfer;
    private readonly List<(VhostUserRequest Request, byte[] Payload, int[] Descriptors)> _asked = [];

    public FakeBackend()
    {
        (FileDescriptor ours, _socket) = UnixSocket.CreatePair();
        FrontEnd = ours;
        _thread = new Thread(Serve) { IsBackground = true };
    }

    public FileDescriptor FrontEnd { get; }

    public ulong Features { get; init; } = Offered;

    public ulong Queues { get; init; } = 2;

    /// <summary>How many buffers it says to have taken of a queue.</summary>
    public ushort Taken { get; init; } = 7;

    /// <summary>What it gives as its state, and takes over; null where it has none to give.</summary>
    public byte[]? State { get; set; }

    /// <summary>Takes the place of the answer to a request: header and payload. Empty to be silent, null to close.</summary>
    public Func<VhostUserRequest, byte[], byte[]?>? Instead { get; init; }

    /// <summary>What was asked, in order.</summary>
    public (VhostUserRequest Request, byte[] Payload, int[] Descriptors)[] Asked
    {
        get
        {
            lock (_asked)
            {
                return [.. _asked];
            }
        }
    }

    public FakeBackend Start()
    {
        _thread.Start();
        return this;
    }

    public byte[] PayloadOf(VhostUserRequest request) => Asked.Last(each => each.Request == request).Payload;

    public int DescriptorOf(VhostUserRequest request, int queue) => Asked.Last(
        each => each.Request == request && (each.Payload[0] == queue)).Descriptors[0];

    public void Close() => _ = LibC.shutdown(_socket.Number, LibC.SHUT_RDWR);

    public static byte[] Message(uint request, uint flags, byte[] payload, uint? length = null)
    {
        byte[] message = new byte[12 + payload.Length];
        BinaryPrimitives.WriteUInt32LittleEndian(message, request);
        BinaryPrimitives.WriteUInt32LittleEndian(message.AsSpan(4), flags);
        BinaryPrimitives.WriteUInt32LittleEndian(message.AsSpan(8), length ?? (uint)payload.Length);
        payload.CopyTo(message, 12);
        return message;
    }

    public void Dispose()
    {
        Close();
        if (_thread.IsAlive)
        {
            _thread.Join();
        }

        foreach ((_, _, int[] descriptors) in Asked)
        {
            foreach (int descriptor in descriptors)
            {
                _ = LibC.close(descriptor);
            }
        }

        _socket.Dispose();
    }

    private void Serve()
    {
        byte[] header = new byte[12];
        while (Receive(header, out int[] descriptors))
        {
            var request = (VhostUserRequest)BinaryPrimitives.ReadUInt32LittleEndian(header);
            uint flags = BinaryPrimitives.ReadUInt32LittleEndian(header.AsSpan(4));
            byte[] payload = new byte[BinaryPrimitives.ReadUInt32LittleEndian(header.AsSpan(8))];
            if (payload.Length > 0 && !Receive(payload, out _))
            {
                return;
            }

            if (request == VhostUserRequest.SetDeviceStateFd && State is not null)
            {
                var end = new FileDescriptor(descriptors[0]);
                descriptors = [];
                bool isSaving = payload[0] == 0;
                _transfer = Task.Run(() =>
                {
                    using (end)
                    {
                        State = isSaving ? (Pipe.TryWriteAll(end, State, Patience) ? State : null) : Pipe.ReadAll(end, Patience, MostState);
                    }
                });
            }

            if (request == VhostUserRequest.CheckDeviceState)
            {
                _transfer?.Wait();
            }

            lock (_asked)
            {
                _asked.Add((request, payload, descriptors));
            }

            byte[]? answer = Instead is null ? AnswerTo(request, flags, payload) : Instead(request, AnswerTo(request, flags, payload));
            if (answer is null)
            {
                Close();
                return;
            }

            fixed (byte* start = answer)
            {
                if (answer.Length > 0)
                {
                    _ = LibC.write(_socket.Number, start, answer.Length);
                }
            }
        }
    }

    private byte[] AnswerTo(VhostUserRequest request, uint flags, byte[] payload)
    {
        ulong? number = request switch
        {
            VhostUserRequest.GetFeatures => Features,
            VhostUserRequest.GetProtocolFeatures => 1 | (1 << 3) | (1 << 9) | (1 << 15) | (State is null ? 0ul : 1 << 19),
            VhostUserRequest.SetDeviceStateFd => 1 << 8,
            VhostUserRequest.CheckDeviceState => 0,
            VhostUserRequest.GetQueueNum => Queues,
            VhostUserRequest.GetVringBase => BinaryPrimitives.ReadUInt32LittleEndian(payload) | ((ulong)Taken << 32),
            _ => (flags & 8) != 0 ? 0 : null,
        };
        return number is { } value ? Message((uint)request, 5, BitConverter.GetBytes(value)) : [];
    }

    private bool Receive(byte[] buffer, out int[] descriptors)
    {
        const int Room = 64;
        ulong* control = stackalloc ulong[Room / 8];
        descriptors = [];
        fixed (byte* start = buffer)
        {
            int done = 0;
            while (done < buffer.Length)
            {
                var vector = new IoVector((nint)(start + done), (nuint)(buffer.Length - done));
                var message = new msghdr { msg_iov = (iovec*)&vector, msg_iovlen = 1, msg_control = control, msg_controllen = Room };
                long count = LibC.recvmsg(_socket.Number, &message, 0);
                if (count <= 0)
                {
                    return false;
                }

                done += (int)count;
                var head = (cmsghdr*)control;
                if (message.msg_controllen >= sizeof(cmsghdr) && head->cmsg_type == LibC.SCM_RIGHTS)
                {
                    int number = ((int)head->cmsg_len - sizeof(cmsghdr)) / sizeof(int);
                    descriptors = new ReadOnlySpan<int>(head + 1, number).ToArray();
                }
            }
        }

        return true;
    }
}

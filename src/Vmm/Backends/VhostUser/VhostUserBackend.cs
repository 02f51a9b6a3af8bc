using System.Buffers.Binary;
using Vmm.Devices.Virtio.Vhost;
using Vmm.Host;

namespace Vmm.Backends.VhostUser;

/// <summary>A program that serves a device over vhost-user; this is the front end's side of it.</summary>
/// <remarks>Kicks go from KVM straight to the program (the ioeventfd is what it gets), interrupts come from it by an
/// eventfd for each queue. The event loop watches it, but does not see what KVM takes: an MSI-X vector that is not masked.
/// Once it breaks the protocol, closes its socket or does not answer in time it is lost for good: that is reported once, and the
/// device completes the guest's requests with errors.</remarks>
internal sealed partial class VhostUserBackend : IVhostBackend, IDisposable
{
    // Bit 30 is negotiated between front and back end only; drivers do not use it.
    private const ulong ProtocolFeaturesBit = 1UL << 30;
    private const ulong Version1 = 1UL << 32;

    private readonly VhostUserChannel _channel;
    private readonly EventLoop _loop;
    private readonly MemoryTable _memory;
    private readonly Action<string> _tell;
    private readonly List<EventFd> _calls = [];
    private readonly List<EventLoop.Watch> _watches = [];
    private VhostDevice? _device;
    private IReadOnlyList<EventFd> _kicks = [];
    private Action? _watchKicks;
    private string? _fault;
    private bool _knowsMemory;
    private readonly Lock _ringsTurn = new();
    private readonly List<VhostRing> _rings = [];

    /// <param name="socket">Connected to the program; does not block.</param>
    /// <param name="loop">Watches the socket and passes interrupts on.</param>
    /// <param name="memory">The memory that it maps.</param>
    /// <param name="patience">How long it may take for an answer.</param>
    /// <param name="tell">Gets the message when it is lost.</param>
    public VhostUserBackend(
        FileDescriptor socket, EventLoop loop, MemoryTable memory, TimeSpan patience, Action<string> tell)
    {
        _channel = new VhostUserChannel(socket, patience);
        (_loop, _memory, _tell) = (loop, memory, tell);
    }

    /// <inheritdoc/>
    public ulong Features { get; private set; }

    /// <summary>Protocol features that both ends support; known after <see cref="Greet"/>.</summary>
    public VhostUserProtocolFeatures Protocol { get; private set; }

    /// <summary>The eventfds by which the program interrupts the guest, one for each queue; known after <see cref="Attach"/>.</summary>
    public IReadOnlyList<EventFd> Calls => _calls;

    /// <summary>Sets the device that is served, and its notifications.</summary>
    /// <param name="device">The device.</param>
    /// <param name="kicks">One for each queue.</param>
    /// <param name="watchKicks">Makes the event loop handle the kicks again, once the program is lost.</param>
    public void Attach(VhostDevice device, IReadOnlyList<EventFd> kicks, Action watchKicks)
    {
        (_device, _kicks, _watchKicks) = (device, kicks, watchKicks);
        for (int i = 0; i < kicks.Count; i++)
        {
            int queue = i;
            var call = new EventFd();
            _calls.Add(call);
            _watches.Add(_loop.Add(call.Number, LibC.EPOLLIN, _ =>
            {
                if (call.Drain())
                {
                    device.OnUsed(queue);
                }
            }, device.Name));
        }
    }

    /// <summary>Negotiates features with the program. Once, before the guest runs.</summary>
    /// <param name="queues">The number of queues that it has to serve.</param>
    /// <param name="first">How long its first answer may take, where it was started a moment ago; null for as long as each answer.</param>
    /// <exception cref="VhostUserException">The program cannot be used.</exception>
    public void Greet(int queues, TimeSpan? first = null)
    {
        const VhostUserProtocolFeatures Wanted = VhostUserProtocolFeatures.Mq | VhostUserProtocolFeatures.ReplyAck
            | VhostUserProtocolFeatures.Config | VhostUserProtocolFeatures.DeviceState;
        TimeSpan patience = _channel.Patience;
        _channel.Patience = first ?? patience;
        ulong features = _channel.Ask(VhostUserRequest.GetFeatures);
        _channel.Patience = patience;
        if ((features & Version1) == 0)
        {
            throw new VhostUserException("it does not know virtio 1.0");
        }

        if ((features & ProtocolFeaturesBit) != 0)
        {
            Protocol = (VhostUserProtocolFeatures)_channel.Ask(VhostUserRequest.GetProtocolFeatures) & Wanted;
            SendNumber(VhostUserRequest.SetProtocolFeatures, (ulong)Protocol);
            _channel.Acknowledges = Protocol.HasFlag(VhostUserProtocolFeatures.ReplyAck);
            if (Protocol.HasFlag(VhostUserProtocolFeatures.Mq) && _channel.Ask(VhostUserRequest.GetQueueNum) is var most
                && most < (ulong)queues)
            {
                throw new VhostUserException($"it serves {most} queues; {queues} are needed");
            }
        }

        _channel.Send(VhostUserRequest.SetOwner, []);
        Features = features & ~ProtocolFeaturesBit;
        _protocolBit = features & ProtocolFeaturesBit;
        _watches.Add(_loop.Add(_channel.Number, LibC.EPOLLRDHUP, _ => OnHangUp(), "vhost-user"));
    }

    private ulong _protocolBit;

    /// <summary>Reads the device's configuration space, where the program has it (CONFIG).</summary>
    /// <exception cref="VhostUserException">It has none.</exception>
    public void ReadConfig(Span<byte> config)
    {
        Span<byte> request = stackalloc byte[ConfigHeadBytes + MostConfig];
        request = request[..(ConfigHeadBytes + config.Length)];
        request.Clear();
        BinaryPrimitives.WriteUInt32LittleEndian(request[4..], (uint)config.Length);
        Span<byte> answer = stackalloc byte[ConfigHeadBytes + MostConfig];
        answer = answer[..request.Length];
        _channel.Ask(VhostUserRequest.GetConfig, request, answer);
        answer[ConfigHeadBytes..].CopyTo(config);
    }

    /// <summary>The most that the protocol allows of configuration space.</summary>
    public const int MostConfig = 256;

    private const int ConfigHeadBytes = 12;     // offset:32  size:32  flags:32

    /// <inheritdoc/>
    public void Begin(ulong features) => Try(() =>
    {
        SendNumber(VhostUserRequest.SetFeatures, features | _protocolBit);
        if (!_knowsMemory)
        {
            _channel.Send(VhostUserRequest.SetMemTable, _memory.ToPayload(), _memory.Descriptors);
            _knowsMemory = true;
        }
    });

    /// <inheritdoc/>
    public void StartQueue(in VhostRing ring)
    {
        VhostRing started = ring;
        Try(() =>
        {
            uint queue = (uint)started.Queue;
            SendState(VhostUserRequest.SetVringNum, queue, started.Size);
            SendState(VhostUserRequest.SetVringBase, queue, started.Next);
            SendAddresses(started);
            SendEvent(VhostUserRequest.SetVringCall, queue, _calls[started.Queue]);
            SendEvent(VhostUserRequest.SetVringKick, queue, _kicks[started.Queue]);
            if (_protocolBit != 0)
            {
                SendState(VhostUserRequest.SetVringEnable, queue, 1);
            }

            if (started.Next != 0)
            {
                _calls[started.Queue].Signal();     // an interrupt from before the pause may have been lost
            }

            lock (_ringsTurn)
            {
                _rings.Add(started);
            }
        });
    }

    /// <inheritdoc/>
    public ushort StopQueue(int queue)
    {
        ushort next = 0;
        Try(() =>
        {
            lock (_ringsTurn)
            {
                _rings.RemoveAll(ring => ring.Queue == queue);
            }

            Span<byte> request = stackalloc byte[8], answer = stackalloc byte[8];
            BinaryPrimitives.WriteUInt32LittleEndian(request, (uint)queue);
            BinaryPrimitives.WriteUInt32LittleEndian(request[4..], 0);
            _channel.Ask(VhostUserRequest.GetVringBase, request, answer);
            next = BinaryPrimitives.ReadUInt16LittleEndian(answer[4..]);
        });
        return next;
    }

    /// <summary>Its progress with the guest's requests, from the rings' indices (virtio 1.2, 2.7.6 and 2.7.8): for split
    /// rings.</summary>
    /// <returns>Pending requests, and a number that every answer changes. Any thread.</returns>
    public unsafe (int Waiting, int Answered) Progress()
    {
        const int Index = 2;        // behind the flags of either ring
        int waiting = 0, answered = 0;
        lock (_ringsTurn)
        {
            foreach (VhostRing ring in _rings)
            {
                ulong available = _memory.UserAddress(ring.Driver), used = _memory.UserAddress(ring.Device);
                if (available != 0 && used != 0)
                {
                    // SAFETY: both rings lie in guest memory, which was checked when the driver enabled the queue and is there as
                    // long as this; the guest and the program write to them meanwhile, and whatever they write is only counted.
                    ushort done = Volatile.Read(ref *(ushort*)(used + Index));
                    waiting += (ushort)(Volatile.Read(ref *(ushort*)(available + Index)) - done);
                    answered += done;
                }
            }
        }

        return (waiting, answered);
    }

    public void Dispose()
    {
        _watches.ForEach(_loop.Remove);
        _calls.ForEach(static call => call.Dispose());
        _channel.Dispose();
    }

    private void SendNumber(VhostUserRequest request, ulong value)
    {
        Span<byte> payload = stackalloc byte[sizeof(ulong)];
        BinaryPrimitives.WriteUInt64LittleEndian(payload, value);
        _channel.Send(request, payload);
    }

    /// <summary>"A vring state description": index:32 number:32.</summary>
    private void SendState(VhostUserRequest request, uint queue, uint number) =>
        SendNumber(request, queue | ((ulong)number << 32));

    /// <summary>"A vring descriptor": the queue in bits 7 to 0, bit 8 set for no descriptor.</summary>
    private void SendEvent(VhostUserRequest request, uint queue, EventFd descriptor)
    {
        Span<byte> payload = stackalloc byte[sizeof(ulong)];
        BinaryPrimitives.WriteUInt64LittleEndian(payload, queue);
        _channel.Send(request, payload, descriptor.Number);
    }

    /// <summary>"A vring address description": index:32 flags:32 descriptors:64 used:64 available:64 log:64.</summary>
    private void SendAddresses(in VhostRing ring)
    {
        Span<byte> payload = stackalloc byte[40];
        payload.Clear();
        BinaryPrimitives.WriteUInt32LittleEndian(payload, (uint)ring.Queue);
        BinaryPrimitives.WriteUInt64LittleEndian(payload[8..], _memory.UserAddress(ring.Descriptors));
        BinaryPrimitives.WriteUInt64LittleEndian(payload[16..], _memory.UserAddress(ring.Device));
        BinaryPrimitives.WriteUInt64LittleEndian(payload[24..], _memory.UserAddress(ring.Driver));
        _channel.Send(VhostUserRequest.SetVringAddr, payload);
    }

    /// <summary>Rare: some requests when a driver starts or stops.</summary>
    private void Try(Action requests)
    {
        if (Volatile.Read(ref _fault) is not null)
        {
            return;
        }

        try
        {
            requests();
        }
        catch (VhostUserException error)
        {
            // The loop's thread sees the closed socket, and does the rest.
            Interlocked.CompareExchange(ref _fault, error.Message, null);
            _channel.Close();
        }
    }

    private void OnHangUp()
    {
        _loop.Remove(_watches[^1]);
        _watches.RemoveAt(_watches.Count - 1);
        Interlocked.CompareExchange(ref _fault, "it ended", null);
        _channel.Close();
        _tell(_fault!);
        _watchKicks?.Invoke();
        _device?.OnLost();
    }
}

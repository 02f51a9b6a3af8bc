using System.Buffers.Binary;
using System.Numerics;
using System.Runtime.InteropServices;
using Vmm.Devices.State;

namespace Vmm.Devices.Virtio.Net;

/// <summary>A network card (virtio 1.2, section 5.1) over an <see cref="INetBackend"/>.</summary>
/// <remarks>Frames move between guest memory and the backend without a copy. Queues: receive 0, transmit 0, receive 1,
/// transmit 1 and so on, then control. Each call moves a bounded number of frames, so that other queues are served too.</remarks>
public sealed partial class VirtioNet : VirtioDevice, INetCard
{
    /// <summary>Bytes of the header in front of every frame.</summary>
    public const int HeaderBytes = 12;

    /// <summary>The longest frame without its header: 65,536 bytes of segmented IP and an Ethernet header
    /// (section 5.1.6.3.1 asks for buffers of 65,562 bytes).</summary>
    public const int MostFrameBytes = 65550;

    /// <summary>The most queue pairs of a card.</summary>
    public const int MostPairs = 16;

    private const uint DeviceIdNetwork = 1;
    private const int EthernetHeaderBytes = 14;
    private const ulong VlanTagBytes = 4;
    private const ulong JumboBytes = 9000;
    private const int MacBytes = 6;
    private const int ConfigBytes = 12;
    private const int StatusOffset = 6;
    private const int FramesPerTurn = 128;
    private const ushort ControlQueueSize = 64;

    private readonly INetBackend _backend;
    private readonly byte[] _config = new byte[ConfigBytes];
    private readonly ReceiveQueue[] _receive;
    private readonly bool[] _sendBlocked;
    private readonly FrameLimit? _sendLimit;
    private readonly FrameLimit? _receiveLimit;
    private readonly byte[] _header;                // pinned; a copy of the header of the frame being sent, which the guest cannot change
    private readonly byte[] _overflow;              // pinned; takes what does not fit the guest's buffers
    private readonly IoVector[] _sendVectors;       // pinned
    private readonly int _maxPairs;
    private readonly ushort _mtu;
    private int _pairs = 1;
    private long _sendDropped;
    private long _receiveDropped;
    private ulong _receiveBytes;                    // of the longest frame that may come, with header

    /// <exception cref="ArgumentException">The options cannot be; the message is for the user.</exception>
    /// <param name="name">The name in messages and statistics: <c>virtio-net0</c>.</param>
    /// <param name="backend">Where frames go.</param>
    /// <param name="options">What the guest sees.</param>
    /// <param name="time">The clock that limits go by.</param>
    public VirtioNet(string name, INetBackend backend, NetOptions options, TimeProvider? time = null)
        : base(name, DeviceIdNetwork, Checked(backend, options), Sizes(backend, options))
    {
        _backend = backend;
        _maxPairs = backend.QueuePairs;
        Time = time ?? TimeProvider.System;
        _sendLimit = FrameLimit.Of(Time, options.SendLimit, options.SendFrameLimit);
        _receiveLimit = FrameLimit.Of(Time, options.ReceiveLimit, options.ReceiveFrameLimit);
        _mtu = options.Mtu;
        options.Mac.Span.CopyTo(_config);
        BinaryPrimitives.WriteUInt16LittleEndian(_config.AsSpan(StatusOffset), 1);      // VIRTIO_NET_S_LINK_UP
        BinaryPrimitives.WriteUInt16LittleEndian(_config.AsSpan(8), (ushort)_maxPairs);
        BinaryPrimitives.WriteUInt16LittleEndian(_config.AsSpan(10), options.Mtu);
        _header = GC.AllocateArray<byte>(HeaderBytes, pinned: true);
        _overflow = GC.AllocateUninitializedArray<byte>(HeaderBytes + MostFrameBytes, pinned: true);
        _sendVectors = GC.AllocateArray<IoVector>(Math.Max(options.QueueSize, ControlQueueSize) + 1, pinned: true);
        _sendBlocked = new bool[_maxPairs];
        _receive = new ReceiveQueue[_maxPairs];
        for (int i = 0; i < _maxPairs; i++)
        {
            _receive[i] = new ReceiveQueue(options.QueueSize);
        }

        backend.Attach(this);
    }

    /// <summary>Frames that the guest sent, with those that the backend dropped.</summary>
    public long SentFrames { get; private set; }

    /// <summary>Their bytes, without the virtio header.</summary>
    public long SentBytes { get; private set; }

    /// <summary>Frames that the guest got.</summary>
    public long ReceivedFrames { get; private set; }

    /// <summary>Their bytes, without the virtio header.</summary>
    public long ReceivedBytes { get; private set; }

    /// <summary>Frames that the guest sent and that were dropped: malformed, too long, or dropped by the backend.</summary>
    public long SendDropped => _sendDropped + _backend.SendDropped;

    /// <summary>Frames for the guest that did not fit the buffers it had ready, or that the backend dropped.</summary>
    public long ReceiveDropped => _receiveDropped + _backend.ReceiveDropped;

    /// <inheritdoc/>
    public override int ConfigLength => ConfigBytes;

    private bool HasMergeableBuffers => (NegotiatedFeatures & NetFeatures.MrgRxbuf) != 0;

    /// <summary>Section 5.1.2: behind all pairs, or behind the first when the driver knows of one only.</summary>
    private int ControlQueue => (NegotiatedFeatures & NetFeatures.Mq) != 0 ? _maxPairs * 2 : 2;

    /// <inheritdoc/>
    public void SetLink(bool up)
    {
        lock (Gate)
        {
            if ((_config[StatusOffset] == 1) != up)
            {
                _config[StatusOffset] = (byte)(up ? 1 : 0);
                ConfigChanged();
            }
        }
    }

    /// <inheritdoc/>
    protected internal override void ReadConfig(int offset, Span<byte> data) =>
        _config.AsSpan(offset, data.Length).CopyTo(data);

    /// <inheritdoc/>
    protected internal override bool AcceptFeatures(ulong features) => NetFeatures.AreConsistent(features);

    /// <inheritdoc/>
    protected internal override void Activate()
    {
        // Unless the guest takes segmented frames the longest is a jumbo frame, with a VLAN tag: fewer buffers to hold.
        const ulong Segmented = NetFeatures.GuestTso4 | NetFeatures.GuestTso6 | NetFeatures.GuestUfo;
        _receiveBytes = HeaderBytes + ((NegotiatedFeatures & Segmented) != 0
            ? (ulong)MostFrameBytes
            : Math.Max((ulong)_mtu, JumboBytes) + EthernetHeaderBytes + VlanTagBytes);
        _backend.Configure(NetFeatures.ToGuest(NegotiatedFeatures), _pairs);
    }

    /// <inheritdoc/>
    protected internal override void StopQueue(Virtqueue queue)
    {
        int pair = queue.Index / 2;
        if (pair >= _maxPairs || queue.Index == ControlQueue)
        {
            return;
        }

        if (queue.Index % 2 == 0)
        {
            WantReceive(pair, false);
            _receive[pair].Drop(queue);
        }
        else
        {
            _sendBlocked[pair] = false;
        }
    }

    /// <inheritdoc/>
    protected internal override void Reset()
    {
        _pairs = 1;
        _backend.Configure(NetOffloads.None, 0);
    }

    /// <inheritdoc/>
    protected internal override void ReturnBuffers()
    {
        for (int pair = 0; pair < _maxPairs; pair++)
        {
            if (TryGetQueue(pair * 2, out Virtqueue? queue))
            {
                _receive[pair].Return(queue);
            }
        }
    }

    /// <summary>The card's MAC address, six bytes.</summary>
    public ReadOnlyMemory<byte> Mac => _config.AsMemory(0, MacBytes);

    /// <summary>The MAC address in the loaded state, if it was another one; else empty.</summary>
    public ReadOnlyMemory<byte> SavedMac { get; private set; }

    /// <inheritdoc/>
    protected internal override void Save(StateWriter state)
    {
        base.Save(state);
        state.Write("config", _config);
        state.Write("pairs", _pairs);
    }

    /// <inheritdoc/>
    protected internal override void Load(StateReader state)
    {
        base.Load(state);
        byte[] config = state.Bytes("config", ConfigBytes, ConfigBytes);
        byte link = (byte)(config[StatusOffset] & 1);
        bool linkChanged = link != _config[StatusOffset];
        config[StatusOffset] ^= (byte)(linkChanged ? 1 : 0);

        // The driver has read the old address and does not read the new one: the agent has to set it in the guest.
        SavedMac = config.AsSpan(0, MacBytes).SequenceEqual(_config.AsSpan(0, MacBytes)) ? default : config.AsMemory(0, MacBytes);
        if (!config.AsSpan(MacBytes).SequenceEqual(_config.AsSpan(MacBytes)))
        {
            throw state.Refuse("config", "describes another card (MTU or number of queues)");
        }

        _pairs = (int)state.UInt64("pairs", 1, (NegotiatedFeatures & NetFeatures.Mq) != 0 ? (ulong)_maxPairs : 1);
        if (linkChanged)
        {
            ConfigChanged();        // the link state is this host's, which may differ from what the guest last saw
        }
    }

    /// <inheritdoc/>
    protected override void ProcessQueue(Virtqueue queue)
    {
        if (queue.Index == ControlQueue && (NegotiatedFeatures & NetFeatures.CtrlVq) != 0)
        {
            ProcessControl(queue);
        }
        else if (queue.Index / 2 >= _pairs)
        {
            // A pair that the driver has not enabled is not served.
        }
        else if (queue.Index % 2 == 0)
        {
            WantReceive(queue.Index / 2, true);     // there are buffers (again); the backend tells when there is a frame
        }
        else
        {
            Transmit(queue);
        }
    }

    private static ulong Checked(INetBackend backend, NetOptions options)
    {
        Require(options.Mac.Length == 6 && (options.Mac.Span[0] & 1) == 0, "mac: six bytes, not a multicast address");
        Require(options.QueueSize is >= 16 and <= 512 && BitOperations.IsPow2((uint)options.QueueSize),
            "queue size: a power of two from 16 to 512");
        Require(options.Mtu is 0 or >= 68, "mtu: 68 to 65535");
        Require(backend.QueuePairs is >= 1 and <= MostPairs, $"queues: 1 to {MostPairs}");
        return NetFeatures.Offered(options, backend);
    }

    private static void Require(bool condition, string what)
    {
        if (!condition)
        {
            throw new ArgumentException(what);
        }
    }

    private static ushort[] Sizes(INetBackend backend, NetOptions options)
    {
        int pairs = backend.QueuePairs;
        var sizes = new ushort[(pairs * 2) + (pairs > 1 ? 1 : 0)];
        Array.Fill(sizes, options.QueueSize);
        if (pairs > 1)
        {
            sizes[^1] = ControlQueueSize;
        }

        return sizes;
    }

    private void WantReceive(int pair, bool want)
    {
        if (_receive[pair].Wanted != want)
        {
            _receive[pair].Wanted = want;
            _backend.WantReceive(pair, want);
        }
    }

    /// <summary>The address of a pinned array.</summary>
    private static nint AddressOf(byte[] pinned) => Marshal.UnsafeAddrOfPinnedArrayElement(pinned, 0);
}

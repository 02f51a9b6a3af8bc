using System.Buffers.Binary;

namespace Vmm.Devices.Virtio.Vsock;

/// <summary>A socket device (virtio 1.2, section 5.10): stream sockets between programs of the guest and of the host.
/// </summary>
/// <remarks>
/// Bytes go from guest memory to the host's sockets and back without a copy; only what a slow reader does not take is kept, up to
/// <see cref="VsockConnection.BufferBytes"/> for each of <see cref="MostConnections"/>. Pending packets for the guest are flags of
/// each connection and a short list of refusals, so that they never grow: when the list is full the guest's packets wait (section
/// 5.10.6.2).
/// </remarks>
public sealed partial class VirtioVsock : VirtioDevice, IVsockDevice
{
    /// <summary>Open at the same time; the next one is refused.</summary>
    public const int MostConnections = 256;

    /// <summary>The host's context id; the guest's is 3 or more (section 5.10.4).</summary>
    public const uint HostCid = 2;

    private const uint DeviceIdSocket = 19;
    private const ulong FeatureStream = 1 << 0;
    private const ushort QueueLength = 64;
    private const int ReceiveQueueIndex = 0, TransmitQueueIndex = 1;
    private const int PacketsPerTurn = 128;

    private readonly IVsockHost _host;
    private readonly ulong _guestCid;
    private readonly Dictionary<ulong, VsockConnection> _connections = [];
    private readonly Queue<VsockConnection> _ready = new();     // those with packets pending for the guest
    private readonly IoVector[] _vectors = new IoVector[QueueLength];

    /// <param name="name">The name in messages and statistics: <c>virtio-vsock0</c>.</param>
    /// <param name="host">Where connections lead.</param>
    /// <param name="guestCid">The guest's address, 3 to 0xfffffffe.</param>
    /// <exception cref="ArgumentException">It cannot be that address.</exception>
    public VirtioVsock(string name, IVsockHost host, uint guestCid)
        : base(name, DeviceIdSocket, FeatureStream, QueueLength, QueueLength, QueueLength)
    {
        if (guestCid is <= HostCid or uint.MaxValue)
        {
            throw new ArgumentException("cid: 3 to 4294967294");
        }

        _host = host;
        _guestCid = guestCid;
        host.Attach(this);
    }

    /// <summary>Connections that were established, from either side.</summary>
    public long Opened { get; private set; }

    /// <summary>Bytes that the guest sent.</summary>
    public long SentBytes { get; private set; }

    /// <summary>Bytes that the guest got.</summary>
    public long ReceivedBytes { get; private set; }

    /// <summary>Open now.</summary>
    public int Connections => _connections.Count;

    /// <summary>Connections in line for the guest's buffers; never many more than there are.</summary>
    internal int Waiting => _ready.Count;

    /// <inheritdoc/>
    public override int ConfigLength => sizeof(ulong);

    /// <inheritdoc/>
    protected internal override void ReadConfig(int offset, Span<byte> data)
    {
        Span<byte> config = stackalloc byte[sizeof(ulong)];
        BinaryPrimitives.WriteUInt64LittleEndian(config, _guestCid);
        config.Slice(offset, data.Length).CopyTo(data);
    }

    /// <inheritdoc/>
    protected internal override void Reset()
    {
        foreach (VsockConnection connection in _connections.Values)
        {
            connection.State = VsockState.Closed;
            connection.Peer.Dispose();
        }

        _connections.Clear();
        _ready.Clear();
        _refusals.Clear();
        _resetPending = false;
    }

    /// <inheritdoc/>
    protected override void ProcessQueue(Virtqueue queue)
    {
        switch (queue.Index)
        {
            case ReceiveQueueIndex:
                SendToGuest(queue);
                break;
            case TransmitQueueIndex:
                TakeFromGuest(queue);
                break;
            default:
                SendEvents(queue);
                break;
        }
    }

    private static ulong Key(uint guestPort, uint hostPort) => ((ulong)guestPort << 32) | hostPort;
}

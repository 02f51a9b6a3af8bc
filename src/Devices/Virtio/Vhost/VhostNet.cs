using System.Buffers.Binary;
using Vmm.Devices.Virtio.Net;

namespace Vmm.Devices.Virtio.Vhost;

/// <summary>A network card (virtio 1.2, section 5.1) whose two queues another program serves. Configuration:
/// <code>
/// mac[6]      status: 16 (bit 0: the link is up)
/// </code>
/// When the program is lost, the link goes down.</summary>
public sealed class VhostNet : VhostDevice
{
    private const uint DeviceIdNet = 1;
    private const ushort QueueLength = 256;
    private const int Receive = 0, StatusOffset = 6, MacBytes = 6;
    private const ushort LinkUp = 1;

    // Offloads are negotiated between the guest's driver and the program. Neither CTRL_VQ nor MQ: two queues.
    private const ulong Offered = NetFeatures.Csum | NetFeatures.GuestCsum | NetFeatures.GuestTso4 | NetFeatures.GuestTso6
        | NetFeatures.GuestEcn | NetFeatures.GuestUfo | NetFeatures.HostTso4 | NetFeatures.HostTso6 | NetFeatures.HostEcn
        | NetFeatures.HostUfo | NetFeatures.MrgRxbuf;

    private readonly byte[] _config = new byte[StatusOffset + sizeof(ushort)];

    /// <param name="name">The name in messages and statistics: <c>vhost-net0</c>.</param>
    /// <param name="mac">Its address, six bytes.</param>
    /// <param name="backend">The program.</param>
    public VhostNet(string name, ReadOnlySpan<byte> mac, IVhostBackend backend)
        : base(name, DeviceIdNet, Offered, backend, QueueLength, QueueLength)
    {
        mac[..MacBytes].CopyTo(_config);
        BinaryPrimitives.WriteUInt16LittleEndian(_config.AsSpan(StatusOffset), LinkUp);
    }

    /// <summary>MAC address and link status are always offered: this class has them, not the program.</summary>
    public override ulong OfferedFeatures => base.OfferedFeatures | NetFeatures.Mac | NetFeatures.Status;

    /// <inheritdoc/>
    public override int ConfigLength => _config.Length;

    /// <inheritdoc/>
    protected internal override void ReadConfig(int offset, Span<byte> data) =>
        _config.AsSpan(offset, data.Length).CopyTo(data);

    /// <inheritdoc/>
    protected override void Lose()
    {
        _config.AsSpan(StatusOffset).Clear();
        Configuration.ConfigChanged();
    }

    /// <inheritdoc/>
    protected override void ProcessQueue(Virtqueue queue)
    {
        // Receive buffers stay in the queue: no frame will come.
        if (!IsLost || queue.Index != Receive)
        {
            base.ProcessQueue(queue);
        }
    }

    /// <summary>Drops a frame that is to be sent.</summary>
    protected override void FailRequest(Virtqueue queue, in DescriptorChain chain) => queue.Complete(chain, 0);
}

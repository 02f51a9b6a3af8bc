namespace Vmm.Devices.Virtio.Vhost;

/// <summary>A block device (virtio 1.2, section 5.2) that another program serves, with one queue.</summary>
/// <param name="name">The name in messages and statistics: <c>vhost-blk0</c>.</param>
/// <param name="backend">The program.</param>
public sealed class VhostBlock(string name, IVhostBackend backend) : VhostDevice(name, DeviceIdBlock, Offered, backend, QueueLength)
{
    /// <summary>Bytes of configuration space, struct virtio_blk_config up to max_write_zeroes_seg and its flag.</summary>
    public const int ConfigBytes = 60;

    private const uint DeviceIdBlock = 2;
    private const ushort QueueLength = 256;
    private const byte InputOutputError = 1;        // VIRTIO_BLK_S_IOERR

    // SIZE_MAX, SEG_MAX, GEOMETRY, RO, BLK_SIZE, FLUSH, TOPOLOGY, DISCARD, WRITE_ZEROES. Neither MQ (one queue) nor
    // CONFIG_WCE (the driver would write to the configuration space).
    private const ulong Offered = (1 << 1) | (1 << 2) | (1 << 4) | (1 << 5) | (1 << 6) | (1 << 9) | (1 << 10) | (1 << 13) | (1 << 14);

    private readonly byte[] _config = new byte[ConfigBytes];

    /// <inheritdoc/>
    public override int ConfigLength => ConfigBytes;

    /// <summary>Sets the configuration space that the program reported, before the guest runs.</summary>
    /// <param name="config"><see cref="ConfigBytes"/> long.</param>
    public void SetConfig(ReadOnlySpan<byte> config) => config.CopyTo(_config);

    /// <inheritdoc/>
    protected internal override void ReadConfig(int offset, Span<byte> data) =>
        _config.AsSpan(offset, data.Length).CopyTo(data);

    /// <inheritdoc/>
    protected override void FailRequest(Virtqueue queue, in DescriptorChain chain)
    {
        if (chain.WritableBytes == 0)
        {
            queue.Refuse("a request has no room for its status");
            return;
        }

        ReadOnlySpan<IoVector> answer = Buffers.AsSpan(chain.Readable, chain.Writable);
        VirtqueueBuffers.CopyTo(answer, chain.WritableBytes - 1, [InputOutputError]);
        queue.Complete(chain, 1);
    }
}

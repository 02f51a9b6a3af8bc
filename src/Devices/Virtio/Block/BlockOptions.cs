namespace Vmm.Devices.Virtio.Block;

/// <summary>What a disk looks like to the guest.</summary>
public sealed record BlockOptions
{
    /// <summary>Shown as /sys/block/vda/serial; ASCII, up to 20 bytes.</summary>
    public string Serial { get; init; } = "";

    /// <summary>Request queues, 1 to 64.</summary>
    public int Queues { get; init; } = 1;

    /// <summary>Descriptors of each queue, a power of two from 4 up to 1024.</summary>
    public ushort QueueSize { get; init; } = 128;

    /// <summary>Most requests in flight at the backend, over all queues; 1 to 4096.</summary>
    public int MaxInFlight { get; init; } = 128;

    /// <summary>Show the disk as read-only even if the backend can write.</summary>
    public bool ReadOnly { get; init; }

    /// <summary>Bytes that the guest sees as one block, a power of two from 512 to 65536 (blk_size).</summary>
    public uint BlockSize { get; init; } = 512;

    /// <summary>Bytes that the backend writes without reading first, BlockSize times a power of two
    /// (physical_block_exp).</summary>
    public uint PhysicalBlockSize { get; init; } = 4096;

    /// <summary>False: writes are durable when they complete, and the driver is offered neither a flush nor a choice
    /// (cache=writethrough).</summary>
    public bool Writeback { get; init; } = true;
}

namespace Vmm.Devices.Virtio.Block;

/// <summary>A place for one request in flight; all of them exist from the start.</summary>
internal struct BlockRequest
{
    public Virtqueue Queue;
    public DescriptorChain Chain;

    /// <summary>Where the status byte goes, in this process.</summary>
    public nint Status;

    /// <summary>What used.len says on success.</summary>
    public uint Written;

    /// <summary>Parts that the backend still works on.</summary>
    public int Parts;

    /// <summary>The worst that a part ended with.</summary>
    public DiskResult Result;
}

namespace Vmm.Devices.Virtio.Block;

/// <summary>One request in flight; all of these are allocated with the device.</summary>
internal struct BlockRequest
{
    public Virtqueue Queue;
    public DescriptorChain Chain;

    /// <summary>Where the status byte goes, in this process.</summary>
    public nint Status;

    /// <summary>The value of used.len on success.</summary>
    public uint Written;

    /// <summary>Parts that the backend still works on.</summary>
    public int Parts;

    /// <summary>The worst result of the parts that have completed.</summary>
    public DiskResult Result;
}

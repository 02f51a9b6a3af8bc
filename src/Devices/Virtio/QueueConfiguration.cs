using Vmm.Devices.Memory;

namespace Vmm.Devices.Virtio;

/// <summary>What the driver wrote about one queue, unchecked until it enables it.</summary>
public sealed class QueueConfiguration
{
    internal QueueConfiguration(ushort maxSize)
    {
        MaxSize = maxSize;
        Clear();
    }

    /// <summary>The largest size that the device takes, a power of two.</summary>
    public uint MaxSize { get; }

    /// <summary>The size that the driver wrote; not checked.</summary>
    public uint Size { get; internal set; }

    /// <summary>Descriptor table, or packed ring.</summary>
    public GuestAddress DescriptorArea { get; internal set; }

    /// <summary>Available ring, or driver event suppression.</summary>
    public GuestAddress DriverArea { get; internal set; }

    /// <summary>Used ring, or device event suppression.</summary>
    public GuestAddress DeviceArea { get; internal set; }

    /// <summary>queue_enable, QueueReady.</summary>
    public bool IsEnabled { get; internal set; }

    /// <summary>A queue reset waits for requests in flight.</summary>
    public bool IsResetting { get; internal set; }

    internal void Clear()
    {
        Size = MaxSize;
        DescriptorArea = DriverArea = DeviceArea = default;
        IsEnabled = false;
        IsResetting = false;
    }
}

namespace Vmm.Devices.Virtio.Net;

/// <summary>What a network card looks like to the guest.</summary>
public sealed record NetOptions
{
    /// <summary>Six bytes, not multicast.</summary>
    public required ReadOnlyMemory<byte> Mac { get; init; }

    /// <summary>Descriptors of each queue, a power of two from 16 up to 512.</summary>
    public ushort QueueSize { get; init; } = 256;

    /// <summary>Reported to the driver; zero for none, else 68 to 65535.</summary>
    public ushort Mtu { get; init; }

    /// <summary>Bytes per second from the guest; zero for no limit.</summary>
    public ulong SendLimit { get; init; }

    /// <summary>Bytes per second to the guest; zero for no limit.</summary>
    public ulong ReceiveLimit { get; init; }

    /// <summary>Frames per second from the guest; zero for no limit.</summary>
    public ulong SendFrameLimit { get; init; }

    /// <summary>Frames per second to the guest; zero for no limit.</summary>
    public ulong ReceiveFrameLimit { get; init; }
}

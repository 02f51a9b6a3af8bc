namespace Vmm.Devices.Virtio.Net;

/// <summary>Work on frames that can be left to the other side. A backend offers what it supports in each direction; the driver
/// chooses what it accepts.</summary>
[Flags]
public enum NetOffloads
{
    None = 0,

    /// <summary>Checksums may be missing (VIRTIO_NET_HDR_F_NEEDS_CSUM).</summary>
    Checksum = 1,

    /// <summary>TCP over IPv4 longer than the MTU.</summary>
    Tso4 = 2,

    /// <summary>TCP over IPv6 longer than the MTU.</summary>
    Tso6 = 4,

    /// <summary>TCP longer than the MTU, with explicit congestion notification.</summary>
    Ecn = 8,

    /// <summary>UDP longer than the MTU.</summary>
    Ufo = 16,
}

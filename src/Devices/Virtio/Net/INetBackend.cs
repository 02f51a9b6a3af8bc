namespace Vmm.Devices.Virtio.Net;

/// <summary>Where a network card's frames go to and come from: a tap, passt, a socket.</summary>
/// <remarks>
/// Every frame has <see cref="VirtioNet.HeaderBytes"/> bytes of <c>struct virtio_net_hdr_v1</c> (virtio 1.2, section 5.1.6;
/// that of a tap with IFF_VNET_HDR and a header size of 12) in front. A backend that offers no
/// <see cref="Offloads"/> skips it when sending, and receives one of all zeroes. All calls come with the device's gate
/// held, most of them on the event-loop thread; none blocks.
/// </remarks>
public interface INetBackend
{
    /// <summary>What it can take from the guest and give to it.</summary>
    NetOffloads Offloads { get; }

    /// <summary>Queue pairs that it can serve, 1 to <see cref="VirtioNet.MostPairs"/>.</summary>
    int QueuePairs { get; }

    /// <summary>Frames of the guest that it dropped: no peer, refused by the host, or on purpose (--net loss).</summary>
    long SendDropped { get; }

    /// <summary>Frames for the guest that it dropped.</summary>
    long ReceiveDropped { get; }

    /// <summary>Names the card. Called once, first.</summary>
    void Attach(INetCard card);

    /// <summary>The driver is ready: which offloads it accepts (TUNSETOFFLOAD), and how many pairs it uses. Called again
    /// whenever that changes; with no offloads and no pair when the driver has reset the device.</summary>
    void Configure(NetOffloads accepted, int pairs);

    /// <summary>Sends a frame, now or not at all: the memory is the guest's again when this returns.</summary>
    /// <returns>False when there is no room; then <see cref="INetCard.SendReady"/> is called once there is. A frame that
    /// cannot be sent for any other reason is dropped: true.</returns>
    bool TrySend(int pair, ReadOnlySpan<IoVector> frame);

    /// <summary>Takes the next frame, cut off where the buffers end.</summary>
    /// <param name="pair">The queue pair.</param>
    /// <param name="buffers">Room for any frame (the last one is the device's own, for what is too long).</param>
    /// <returns>Bytes with header; 0 when there is none.</returns>
    int Receive(int pair, ReadOnlySpan<IoVector> buffers);

    /// <summary>Whether <see cref="INetCard.ReceiveReady"/> is to be called, on the event-loop thread, as long as there are
    /// frames (level-triggered). False to begin with. While it has no buffers the card does not ask for frames, so that a flood
    /// costs nothing: frames wait or are dropped at their source.</summary>
    void WantReceive(int pair, bool want);
}

/// <summary>What a backend tells the card on it. All on the event-loop thread, unless said otherwise, and without any
/// lock of the backend's held: the card calls back.</summary>
public interface INetCard
{
    /// <summary>There are frames. To be called again as long as there are and they are wanted
    /// (<see cref="INetBackend.WantReceive"/>): each call takes a bounded number.</summary>
    void ReceiveReady(int pair);

    /// <summary>There is room again, after <see cref="INetBackend.TrySend"/> said that there was none.</summary>
    void SendReady(int pair);

    /// <summary>Plugs the cable in or out. Any thread, and before the card is plugged in too.</summary>
    void SetLink(bool up);
}

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

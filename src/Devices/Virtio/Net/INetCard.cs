namespace Vmm.Devices.Virtio;

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

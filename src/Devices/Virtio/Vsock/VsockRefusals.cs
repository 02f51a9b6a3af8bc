namespace Vmm.Devices.Virtio.Vsock;

/// <summary>Packets of the guest that are answered with VIRTIO_VSOCK_OP_RST although there is no connection to keep that
/// in: first in, first out, and no more than fit.</summary>
internal sealed class VsockRefusals
{
    public const int Most = 64;

    private readonly (uint GuestPort, uint HostPort, ushort Type)[] _list = new (uint, uint, ushort)[Most];
    private int _first;

    public int Count { get; private set; }

    public bool IsFull => Count == Most;

    /// <summary>What <see cref="Take"/> will give, in that order.</summary>
    public IEnumerable<(uint GuestPort, uint HostPort, ushort Type)> All =>
        Enumerable.Range(0, Count).Select(i => _list[(_first + i) % Most]);

    /// <summary>Not when it is full.</summary>
    /// <param name="type">Of the socket, as the guest wrote it: the answer has the same.</param>
    public void Add(uint guestPort, uint hostPort, ushort type) =>
        _list[(_first + Count++) % Most] = (guestPort, hostPort, type);

    /// <summary>Not when there is none.</summary>
    public (uint GuestPort, uint HostPort, ushort Type) Take()
    {
        (uint, uint, ushort) first = _list[_first];
        _first = (_first + 1) % Most;
        Count--;
        return first;
    }

    public void Clear() => Count = 0;
}

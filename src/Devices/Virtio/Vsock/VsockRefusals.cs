namespace Vmm.Devices.Virtio.Vsock;

/// <summary>Packets of the guest that are answered with VIRTIO_VSOCK_OP_RST without belonging to a connection: first in, first
/// out, up to a fixed number.</summary>
internal sealed class VsockRefusals
{
    public const int Most = 64;

    private readonly (uint GuestPort, uint HostPort, ushort Type)[] _list = new (uint, uint, ushort)[Most];
    private int _first;

    public int Count { get; private set; }

    public bool IsFull => Count == Most;

    /// <summary>What <see cref="Take"/> will return, in that order.</summary>
    public IEnumerable<(uint GuestPort, uint HostPort, ushort Type)> All =>
        Enumerable.Range(0, Count).Select(i => _list[(_first + i) % Most]);

    /// <summary>Must not be full.</summary>
    /// <param name="type">The packet's socket type, which the answer repeats.</param>
    public void Add(uint guestPort, uint hostPort, ushort type) =>
        _list[(_first + Count++) % Most] = (guestPort, hostPort, type);

    /// <summary>Must not be empty.</summary>
    public (uint GuestPort, uint HostPort, ushort Type) Take()
    {
        (uint, uint, ushort) first = _list[_first];
        _first = (_first + 1) % Most;
        Count--;
        return first;
    }

    public void Clear() => Count = 0;
}

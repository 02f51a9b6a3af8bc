using System.Diagnostics;
using System.Runtime.InteropServices;

namespace Vmm.Devices.Virtio.Vsock;

/// <summary>One connection between a port of the guest and one of the host, with what each side may still send
/// (virtio 1.2, sections 5.10.6.3 and 5.10.6.5).</summary>
/// <remarks>All calls are made with the device's gate held, except those of <see cref="IVsockConnection"/>.</remarks>
internal sealed class VsockConnection(VirtioVsock device, uint guestPort, uint hostPort, IVsockPeer peer) : IVsockConnection
{
    /// <summary>Bytes that the guest may send before the host's program reads them. The buffer for them is made when that
    /// program is slow for the first time.</summary>
    public const uint BufferBytes = 128 << 10;

    private byte[]? _unsent;
    private int _unsentStart;
    private int _unsentEnd;
    private uint _forwarded;            // fwd_cnt
    private uint _forwardedTold;
    private uint _sent;                 // tx_cnt of section 5.10.6.3
    private uint _peerBufAlloc;
    private uint _peerFwdCnt;

    public uint GuestPort { get; } = guestPort;

    public uint HostPort { get; } = hostPort;

    public IVsockPeer Peer { get; } = peer;

    public VsockState State { get; set; }

    /// <summary>Packets that are pending for the guest.</summary>
    public VsockPending Pending { get; set; }

    /// <summary>Is it in the device's list of those that have something for the guest?</summary>
    public bool IsQueued { get; set; }

    /// <summary>Did the host's program hang up?</summary>
    public bool IsHungUp { get; set; }

    /// <summary>Which directions the guest has shut down.</summary>
    public VsockShutdown GuestShut { get; set; }

    /// <summary>Which directions the guest was told that the host has shut down.</summary>
    public VsockShutdown HostShut { get; set; }

    /// <summary>Does it wait for credit from the guest?</summary>
    public bool IsOutOfCredit { get; set; }

    public bool HasUnsent => _unsentStart < _unsentEnd;

    /// <summary>Bytes that the guest can take. Never more than its buffer size, whatever the guest writes.</summary>
    public uint Credit
    {
        get
        {
            uint inFlight = unchecked(_sent - _peerFwdCnt);
            return inFlight < _peerBufAlloc ? _peerBufAlloc - inFlight : 0;
        }
    }

    /// <summary>Bytes that the guest may still send.</summary>
    public uint Room => BufferBytes - (uint)(_unsentEnd - _unsentStart);

    /// <summary>Has the host's program read so much that the guest is to get a credit update?</summary>
    public bool ShouldTellCredit => unchecked(_forwarded - _forwardedTold) >= BufferBytes / 2;

    void IVsockConnection.ReceiveReady() => device.ReceiveReady(this);

    void IVsockConnection.SendReady() => device.SendReady(this);

    void IVsockConnection.HungUp() => device.HungUp(this);

    /// <summary>Takes the credit fields of a packet of the guest.</summary>
    public void TakeCredit(in VsockHeader header) => (_peerBufAlloc, _peerFwdCnt) = (header.BufAlloc, header.FwdCnt);

    /// <summary>Fills in the credit fields of a packet for the guest.</summary>
    public void PutCredit(ref VsockHeader header)
    {
        (header.BufAlloc, header.FwdCnt) = (BufferBytes, _forwarded);
        _forwardedTold = _forwarded;
    }

    public void Sent(int bytes) => _sent = unchecked(_sent + (uint)bytes);

    /// <summary>Sends the guest's bytes to the host's program, and keeps what it does not take.</summary>
    /// <param name="data">Exactly <paramref name="length"/> bytes; changed.</param>
    /// <param name="length">At most <see cref="Room"/>.</param>
    /// <returns>False when the program will not read any more.</returns>
    public bool Forward(Span<IoVector> data, uint length)
    {
        Debug.Assert(length <= Room);
        int taken = HasUnsent ? 0 : Peer.Send(data);
        if (taken < 0)
        {
            return false;
        }

        Forwarded(taken);
        if ((uint)taken < length)
        {
            int used = VirtqueueBuffers.Skip(data, (ulong)taken);
            Keep(data[used..], (int)length - taken);
        }

        return true;
    }

    /// <summary>Sends what was kept.</summary>
    /// <returns>False when the program will not read any more.</returns>
    public bool Flush()
    {
        while (HasUnsent)
        {
            var rest = new IoVector(
                Marshal.UnsafeAddrOfPinnedArrayElement(_unsent!, _unsentStart),
                (nuint)(_unsentEnd - _unsentStart));
            int taken = Peer.Send(new ReadOnlySpan<IoVector>(in rest));
            if (taken <= 0)
            {
                return taken == 0;
            }

            _unsentStart += taken;
            Forwarded(taken);
        }

        return true;
    }

    /// <summary>Drops what was kept, because the program will not read it: the guest need not wait for credit.</summary>
    public void DropUnsent()
    {
        Forwarded(_unsentEnd - _unsentStart);
        _unsentStart = _unsentEnd = 0;
    }

    private void Forwarded(int bytes) => _forwarded = unchecked(_forwarded + (uint)bytes);

    private void Keep(ReadOnlySpan<IoVector> data, int length)
    {
        _unsent ??= GC.AllocateUninitializedArray<byte>((int)BufferBytes, pinned: true);
        if (length > _unsent.Length - _unsentEnd)
        {
            _unsent.AsSpan(_unsentStart, _unsentEnd - _unsentStart).CopyTo(_unsent);
            _unsentEnd -= _unsentStart;
            _unsentStart = 0;
        }

        _unsentEnd += VirtqueueBuffers.CopyFrom(data, _unsent.AsSpan(_unsentEnd, length));
    }
}

internal enum VsockState
{
    /// <summary>The host asked, the guest has not answered.</summary>
    Connecting,

    Established,

    /// <summary>Closed on the host; the guest has not been told yet.</summary>
    Closing,

    /// <summary>Closed on both sides, and removed from the device's table.</summary>
    Closed,
}

/// <summary>Packets pending for the guest, in the order in which they are sent.</summary>
[Flags]
internal enum VsockPending
{
    None = 0,
    Rst = 1,
    Request = 1 << 1,
    Response = 1 << 2,
    CreditUpdate = 1 << 3,
    CreditRequest = 1 << 4,
    Data = 1 << 5,
    Shutdown = 1 << 6,
}

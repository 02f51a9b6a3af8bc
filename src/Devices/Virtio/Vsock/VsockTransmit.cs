using System.Runtime.InteropServices;

namespace Vmm.Devices.Virtio.Vsock;

/// <summary>Packets from the guest (virtio 1.2, sections 5.10.6.4 and 5.10.6.5).</summary>
public sealed partial class VirtioVsock
{
    private const ushort TypeStream = 1;
    private const string ShortPacket = "a packet is shorter than its header";
    private const string LongPacket = "a packet is shorter than its length says";

    private void TakeFromGuest(Virtqueue queue)
    {
        queue.DisableNotify();
        int budget = PacketsPerTurn;
        do
        {
            // Each packet may have to be refused, so a packet is taken only while the list of refusals is not full.
            while (!_refusals.IsFull && queue.TryPop(_vectors, out DescriptorChain chain))
            {
                if (!TryTake(_vectors.AsSpan(0, chain.Readable), chain.ReadableBytes, out string fault))
                {
                    queue.Refuse(fault);
                    break;
                }

                queue.Complete(chain, 0);
                if (--budget == 0)
                {
                    KickLater(queue);
                    break;
                }
            }

            queue.Publish();
        }
        while (budget > 0 && !_refusals.IsFull && queue.EnableNotify());
        SendToGuest();
    }

    /// <summary>One packet. A packet that is not from this guest's address, or not for the host, is dropped.</summary>
    /// <returns>False when it is malformed.</returns>
    private bool TryTake(Span<IoVector> packet, ulong length, out string fault)
    {
        VsockHeader header = default;
        if (VirtqueueBuffers.CopyFrom(packet, MemoryMarshal.AsBytes(new Span<VsockHeader>(ref header))) < VsockHeader.Length)
        {
            fault = ShortPacket;
            return false;
        }

        if (header.Len > length - VsockHeader.Length)
        {
            fault = LongPacket;
            return false;
        }

        fault = "";
        if (header.SrcCid == _guestCid && header.DstCid == HostCid)
        {
            Take(header, packet);
        }

        return true;
    }

    private void Take(in VsockHeader header, Span<IoVector> packet)
    {
        _connections.TryGetValue(Key(header.SrcPort, header.DstPort), out VsockConnection? connection);
        if (connection is null || header.Type != TypeStream)
        {
            TakeUnconnected(header);
        }
        else if (connection.State == VsockState.Closing)
        {
            // A reset is already pending for the guest.
        }
        else if (!Take(connection, header, packet))
        {
            Close(connection);
        }
    }

    /// <summary>A packet that belongs to no connection, or has an unknown socket type: a connection request, or an error to answer.
    /// </summary>
    private void TakeUnconnected(in VsockHeader header)
    {
        if (header.Op == VsockOp.Rst)
        {
            return;
        }

        if (header.Type == TypeStream && header.Op == VsockOp.Request && _connections.Count < MostConnections
            && _host.Connect(header.DstPort) is { } peer)
        {
            VsockConnection connection = Add(peer, header.SrcPort, header.DstPort, VsockState.Established);
            connection.TakeCredit(header);
            AddPending(connection, VsockPending.Response);
            Watch(connection);
            return;
        }

        _refusals.Add(header.SrcPort, header.DstPort, header.Type);
    }

    /// <returns>False when the connection is over.</returns>
    private bool Take(VsockConnection connection, in VsockHeader header, Span<IoVector> packet)
    {
        connection.TakeCredit(header);
        if (connection.IsOutOfCredit && connection.Credit > 0)
        {
            connection.IsOutOfCredit = false;
            AddPending(connection, VsockPending.Data);
        }

        switch (header.Op)
        {
            case VsockOp.Response when connection.State == VsockState.Connecting:
                connection.State = VsockState.Established;
                Opened++;
                connection.Peer.Accepted(connection.HostPort);
                Watch(connection);
                return true;
            case VsockOp.Rst:
                Forget(connection);
                return true;
            case VsockOp.Rw when connection.State == VsockState.Established:
                return TakeData(connection, header.Len, packet);
            case VsockOp.Shutdown when connection.State == VsockState.Established:
                return TakeShutdown(connection, header.Flags);
            case VsockOp.CreditUpdate:
                return true;
            case VsockOp.CreditRequest:
                AddPending(connection, VsockPending.CreditUpdate);
                return true;
            default:
                return false;
        }
    }

    private bool TakeData(VsockConnection connection, uint length, Span<IoVector> packet)
    {
        if (length == 0)
        {
            return true;
        }

        if (length > connection.Room || (connection.GuestShut & VsockShutdown.Send) != 0)
        {
            return false;       // more than its credit (section 5.10.6.3)
        }

        Span<IoVector> data = packet[VirtqueueBuffers.Skip(packet, VsockHeader.Length)..];
        SentBytes += length;
        return !connection.IsHungUp && connection.Forward(data[..VirtqueueBuffers.Cut(data, length)], length)
            && AfterSending(connection);
    }

    private bool TakeShutdown(VsockConnection connection, VsockShutdown flags)
    {
        connection.GuestShut |= flags & VsockShutdown.Both;
        if ((connection.GuestShut & VsockShutdown.Receive) != 0)
        {
            connection.Pending &= ~VsockPending.Data;
            connection.IsOutOfCredit = false;
        }

        return AfterSending(connection);
    }

    /// <summary>Handles the consequences after bytes of the guest were sent on or dropped.</summary>
    /// <returns>False when the connection is over.</returns>
    private bool AfterSending(VsockConnection connection)
    {
        if (!connection.HasUnsent)
        {
            if (connection.GuestShut == VsockShutdown.Both)
            {
                return false;       // a clean end, which the guest waits to hear of (section 5.10.6.5)
            }

            if ((connection.GuestShut & VsockShutdown.Send) != 0 && !connection.IsHungUp)
            {
                connection.Peer.EndSend();
            }
        }

        if (connection.ShouldTellCredit)
        {
            AddPending(connection, VsockPending.CreditUpdate);
        }

        Watch(connection);
        return true;
    }

    /// <summary>The host's program reads again.</summary>
    internal void SendReady(VsockConnection connection)
    {
        lock (Gate)
        {
            if (connection.State == VsockState.Established && (!connection.Flush() || !AfterSending(connection)))
            {
                Close(connection);
            }

            SendToGuest();
        }
    }
}

using System.Runtime.InteropServices;

namespace Vmm.Devices.Virtio.Vsock;

/// <summary>Packets for the guest (virtio 1.2, sections 5.10.6.3 to 5.10.6.5).</summary>
public sealed partial class VirtioVsock
{
    // Of a packet; Linux has buffers of 4 KiB and takes up to 64.
    private const int MostDataBytes = 64 << 10;
    private const uint FirstHostPort = 1 << 30, LastHostPort = uint.MaxValue >> 1;
    private const string ShortBuffer = "a receive buffer is shorter than the header";

    private readonly VsockRefusals _refusals = new();
    private readonly IoVector[] _dataVectors = new IoVector[QueueLength];
    private uint _nextHostPort = FirstHostPort;

    /// <inheritdoc/>
    public bool Connect(IVsockPeer peer, uint port)
    {
        lock (Gate)
        {
            if (_connections.Count == MostConnections || !TryGetRunning(ReceiveQueueIndex, out _))
            {
                return false;
            }

            while (_connections.ContainsKey(Key(port, _nextHostPort)))
            {
                StepHostPort();
            }

            VsockConnection connection = Add(peer, port, _nextHostPort, VsockState.Connecting);
            StepHostPort();
            AddPending(connection, VsockPending.Request);
            SendToGuest();
            return true;
        }
    }

    /// <summary>The host's program has something, or ended.</summary>
    internal void ReceiveReady(VsockConnection connection)
    {
        lock (Gate)
        {
            if (connection.State == VsockState.Established && CanReceive(connection))
            {
                AddPending(connection, VsockPending.Data);
                SendToGuest();
                Watch(connection);
            }
        }
    }

    /// <summary>The host's program has closed its end: what the guest sent, and sends, is not read.</summary>
    internal void HungUp(VsockConnection connection)
    {
        lock (Gate)
        {
            connection.IsHungUp = true;
            switch (connection.State)
            {
                case VsockState.Connecting:
                    Close(connection);
                    break;
                case VsockState.Established:
                    // The remaining bytes go first, if the guest has credit. If it has none, it is told at once that the host
                    // does not receive any more, and that it does not send any more once the guest has read the rest
                    // (FillShutdown).
                    connection.DropUnsent();
                    AddPending(connection, CanReceive(connection) && !connection.IsOutOfCredit
                        ? VsockPending.Data | VsockPending.Shutdown
                        : VsockPending.Shutdown);
                    break;
                default:
                    break;
            }

            SendToGuest();
        }
    }

    private static bool CanReceive(VsockConnection connection) =>
        (connection.HostShut & VsockShutdown.Send) == 0 && (connection.GuestShut & VsockShutdown.Receive) == 0;

    /// <summary>Asks the event loop for the events that the connection can handle now.</summary>
    private static void Watch(VsockConnection connection)
    {
        if (!connection.IsHungUp)
        {
            connection.Peer.Want(
                receive: CanReceive(connection) && !connection.IsOutOfCredit && (connection.Pending & VsockPending.Data) == 0,
                send: connection.HasUnsent);
        }
    }

    private void StepHostPort() => _nextHostPort = _nextHostPort == LastHostPort ? FirstHostPort : _nextHostPort + 1;

    private VsockConnection Add(IVsockPeer peer, uint guestPort, uint hostPort, VsockState state)
    {
        var connection = new VsockConnection(this, guestPort, hostPort, peer) { State = state };
        _connections.Add(Key(guestPort, hostPort), connection);
        peer.Attach(connection);
        Opened += state == VsockState.Established ? 1 : 0;
        return connection;
    }

    /// <summary>Notes that the guest is to get this, once there are buffers for it.</summary>
    private void AddPending(VsockConnection connection, VsockPending what)
    {
        connection.Pending |= what;
        if (!connection.IsQueued)
        {
            connection.IsQueued = true;
            _ready.Enqueue(connection);
            if (_ready.Count > MostConnections * 2)
            {
                DropOver();
            }
        }
    }

    /// <summary>Removes connections that were opened and closed while the guest had no buffers: no packet is pending for
    /// them.</summary>
    private void DropOver()
    {
        for (int left = _ready.Count; left > 0; left--)
        {
            VsockConnection connection = _ready.Dequeue();
            if (connection.State != VsockState.Closed)
            {
                _ready.Enqueue(connection);
            }
        }
    }

    /// <summary>Closes the connection: the host's program sees it at once, the guest with its next buffer.</summary>
    private void Close(VsockConnection connection)
    {
        connection.State = VsockState.Closing;
        connection.Peer.Dispose();
        connection.Pending = VsockPending.None;
        AddPending(connection, VsockPending.Rst);
    }

    /// <summary>Removes the connection: the guest knows that it is closed.</summary>
    private void Forget(VsockConnection connection)
    {
        connection.State = VsockState.Closed;
        connection.Pending = VsockPending.None;
        connection.Peer.Dispose();
        _connections.Remove(Key(connection.GuestPort, connection.HostPort));
    }

    private void SendToGuest()
    {
        if (TryGetRunning(ReceiveQueueIndex, out Virtqueue? queue))
        {
            SendToGuest(queue);
        }
    }

    private void SendToGuest(Virtqueue queue)
    {
        bool wasFull = _refusals.IsFull;
        int budget = PacketsPerTurn;
        queue.DisableNotify();
        do
        {
            while (budget > 0 && (_refusals.Count > 0 || _ready.Count > 0) && queue.TryPop(_vectors, out DescriptorChain chain))
            {
                budget--;
                if (chain.WritableBytes < VsockHeader.Length)
                {
                    queue.Refuse(ShortBuffer);
                    break;
                }

                int written = Fill(_vectors.AsSpan(chain.Readable, chain.Writable), chain.WritableBytes);
                if (written == 0)
                {
                    queue.ReturnToQueue(chain);     // no connection had anything to send
                }
                else
                {
                    queue.Complete(chain, (uint)written);
                }
            }

            queue.Publish();
        }
        while (budget > 0 && (_refusals.Count > 0 || _ready.Count > 0) && queue.EnableNotify());
        if (budget == 0)
        {
            KickLater(queue);
        }

        if (wasFull && !_refusals.IsFull && TryGetRunning(TransmitQueueIndex, out Virtqueue? waiting))
        {
            KickLater(waiting);
        }
    }

    /// <summary>Makes one packet.</summary>
    /// <returns>Its bytes; 0 when there is none to send.</returns>
    private int Fill(Span<IoVector> buffers, ulong room)
    {
        if (_refusals.Count > 0)
        {
            (uint guestPort, uint hostPort, ushort type) = _refusals.Take();
            return Put(buffers, Header(guestPort, hostPort, VsockOp.Rst) with { Type = type });
        }

        while (_ready.TryDequeue(out VsockConnection? connection))
        {
            connection.IsQueued = false;
            int written = Fill(connection, buffers, room);
            if (connection.Pending != VsockPending.None)
            {
                AddPending(connection, VsockPending.None);     // behind the others
            }

            if (written != 0)
            {
                return written;
            }
        }

        return 0;
    }

    private int Fill(VsockConnection connection, Span<IoVector> buffers, ulong room)
    {
        while (connection.Pending != VsockPending.None)
        {
            VsockPending next = connection.Pending & (VsockPending)(-(int)connection.Pending);      // the lowest bit
            connection.Pending &= ~next;
            int written = next switch
            {
                VsockPending.Rst => FillRst(connection, buffers),
                VsockPending.Request => Put(connection, buffers, VsockOp.Request),
                VsockPending.Response => Put(connection, buffers, VsockOp.Response),
                VsockPending.CreditUpdate => Put(connection, buffers, VsockOp.CreditUpdate),
                VsockPending.CreditRequest => Put(connection, buffers, VsockOp.CreditRequest),
                VsockPending.Data => FillData(connection, buffers, room),
                _ => FillShutdown(connection, buffers),
            };
            if (written != 0)
            {
                return written;
            }
        }

        return 0;
    }

    private int FillRst(VsockConnection connection, Span<IoVector> buffers)
    {
        Forget(connection);
        return Put(connection, buffers, VsockOp.Rst);
    }

    /// <summary>Lets the host's program fill the guest's buffer behind the header.</summary>
    /// <returns>0 when there was nothing to read.</returns>
    private int FillData(VsockConnection connection, Span<IoVector> buffers, ulong room)
    {
        if (connection.Credit == 0)
        {
            int waiting = connection.Peer.Peek();
            if (waiting > 0)
            {
                connection.IsOutOfCredit = true;
                return Put(connection, buffers, VsockOp.CreditRequest);
            }

            EndReceive(connection, waiting);
            return 0;
        }

        if (room == VsockHeader.Length)
        {
            connection.Pending |= VsockPending.Data;
            return Put(connection, buffers, VsockOp.CreditUpdate);      // the next buffer may be larger
        }

        buffers.CopyTo(_dataVectors);
        Span<IoVector> data = _dataVectors.AsSpan(0, buffers.Length);
        data = data[VirtqueueBuffers.Skip(data, VsockHeader.Length)..];
        int got = connection.Peer.Receive(data[..VirtqueueBuffers.Cut(data, Math.Min(MostDataBytes, connection.Credit))]);
        if (got > 0)
        {
            connection.Pending |= VsockPending.Data;
            connection.Sent(got);
            ReceivedBytes += got;
            return got + Put(connection, buffers, VsockOp.Rw, (uint)got);
        }

        EndReceive(connection, got);
        return 0;
    }

    /// <summary>There was nothing to read: nothing now, or the end of the stream.</summary>
    private static void EndReceive(VsockConnection connection, int got)
    {
        if (got < 0 || connection.IsHungUp)
        {
            connection.Pending |= VsockPending.Shutdown;
        }

        Watch(connection);
    }

    /// <summary>Tells the guest which directions the host has shut down (section 5.10.6.5).</summary>
    /// <returns>0 when the guest knows already.</returns>
    private int FillShutdown(VsockConnection connection, Span<IoVector> buffers)
    {
        if (connection.IsOutOfCredit && connection.Peer.Peek() <= 0)
        {
            connection.IsOutOfCredit = false;       // it has read all there was
        }

        VsockShutdown shut = !connection.IsHungUp ? VsockShutdown.Send
            : connection.IsOutOfCredit ? VsockShutdown.Receive
            : VsockShutdown.Both;
        if ((shut & ~connection.HostShut) == 0)
        {
            return 0;
        }

        connection.HostShut |= shut;
        Watch(connection);
        VsockHeader header = Header(connection.GuestPort, connection.HostPort, VsockOp.Shutdown) with
        {
            Flags = connection.HostShut,
        };
        connection.PutCredit(ref header);
        return Put(buffers, header);
    }

    private int Put(VsockConnection connection, ReadOnlySpan<IoVector> buffers, VsockOp op, uint length = 0)
    {
        VsockHeader header = Header(connection.GuestPort, connection.HostPort, op) with { Len = length };
        connection.PutCredit(ref header);
        return Put(buffers, header);
    }

    private static int Put(ReadOnlySpan<IoVector> buffers, VsockHeader header) =>
        VirtqueueBuffers.CopyTo(buffers, MemoryMarshal.AsBytes(new ReadOnlySpan<VsockHeader>(in header)));

    private VsockHeader Header(uint guestPort, uint hostPort, VsockOp op) => new()
    {
        SrcCid = HostCid,
        DstCid = _guestCid,
        SrcPort = hostPort,
        DstPort = guestPort,
        Type = TypeStream,
        Op = op,
    };
}

using System.Buffers.Binary;
using Vmm.Devices.State;

namespace Vmm.Devices.Virtio.Vsock;

/// <summary>What is saved of a socket device. Connections lead to programs of the host and end with the machine that had
/// them: where there were any, the guest is told so once it runs again.</summary>
public sealed partial class VirtioVsock
{
    private const int EventBytes = 4;
    private const uint EventTransportReset = 0;     // VIRTIO_VSOCK_EVENT_TRANSPORT_RESET, virtio 1.2, section 5.10.6.7
    private const string ShortEventBuffer = "an event buffer is shorter than an event";

    private bool _resetPending;

    /// <inheritdoc/>
    protected internal override void Save(StateWriter state)
    {
        base.Save(state);
        state.Write("cid", _guestCid);
        state.Write("nextHostPort", _nextHostPort);
        state.Write("owesReset", _resetPending || _connections.Count > 0);

        // A connection request that is not answered yet is refused: the guest's socket would not learn of it from the transport
        // reset.
        IEnumerable<(uint, uint, ushort)> unanswered = _connections.Values
            .Where(static connection => (connection.Pending & VsockPending.Response) != 0)
            .Select(static connection => (connection.GuestPort, connection.HostPort, TypeStream));
        state.Write("refusals", _refusals.All.Concat(unanswered).Take(VsockRefusals.Most), static (fields, refusal) =>
        {
            (uint guestPort, uint hostPort, ushort type) = refusal;
            fields.Write("guestPort", guestPort);
            fields.Write("hostPort", hostPort);
            fields.Write("type", (uint)type);
        });
    }

    /// <inheritdoc/>
    protected internal override void Load(StateReader state)
    {
        base.Load(state);
        ulong cid = state.UInt64("cid", HostCid + 1, uint.MaxValue - 1);
        _nextHostPort = (uint)state.UInt64("nextHostPort", FirstHostPort, LastHostPort);
        _resetPending = state.Boolean("owesReset") || cid != _guestCid;    // the driver reads its address again then
        _refusals.Clear();
        foreach (StateReader refusal in state.List("refusals", 0, VsockRefusals.Most))
        {
            _refusals.Add(refusal.UInt32("guestPort"), refusal.UInt32("hostPort"), refusal.UInt16("type"));
            refusal.End();
        }
    }

    /// <summary>Tells the guest that all its connections are gone, if they are and it offered a buffer for that.</summary>
    private void SendEvents(Virtqueue queue)
    {
        do
        {
            if (!_resetPending)
            {
                return;
            }

            if (queue.TryPop(_vectors, out DescriptorChain chain))
            {
                if (chain.WritableBytes < EventBytes)
                {
                    queue.Refuse(ShortEventBuffer);
                    return;
                }

                Span<byte> reset = stackalloc byte[EventBytes];
                BinaryPrimitives.WriteUInt32LittleEndian(reset, EventTransportReset);
                VirtqueueBuffers.CopyTo(_vectors.AsSpan(chain.Readable, chain.Writable), reset);
                _resetPending = false;
                queue.Complete(chain, EventBytes);
                queue.Publish();
                return;
            }
        }
        while (queue.EnableNotify());
    }
}

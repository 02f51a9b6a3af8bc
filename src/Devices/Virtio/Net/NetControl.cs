using System.Buffers.Binary;

namespace Vmm.Devices.Virtio.Net;

/// <summary>Commands of the driver (virtio 1.2, section 5.1.6.5): class:8 command:8, data, and an answer to
/// write.</summary>
public sealed partial class VirtioNet
{
    private const byte ClassMq = 4;             // VIRTIO_NET_CTRL_MQ
    private const byte CommandPairsSet = 0;     // VIRTIO_NET_CTRL_MQ_VQ_PAIRS_SET
    private const byte AckOk = 0;               // VIRTIO_NET_OK
    private const byte AckError = 1;            // VIRTIO_NET_ERR
    private const string NoAck = "a control command has no room for its answer";

    private void ProcessControl(Virtqueue queue)
    {
        int budget = queue.Size;
        do
        {
            while (queue.TryPop(_sendVectors, out DescriptorChain chain))
            {
                if (chain.WritableBytes == 0)
                {
                    queue.Refuse(NoAck);
                    break;
                }

                byte answer = Command(_sendVectors.AsSpan(0, chain.Readable));
                VirtqueueBuffers.CopyTo(_sendVectors.AsSpan(chain.Readable, chain.Writable), [answer]);
                if (!CompleteInTurn(queue, chain, 1, ref budget))
                {
                    return;
                }
            }

            queue.Publish();
        }
        while (queue.EnableNotify());
    }

    private byte Command(ReadOnlySpan<IoVector> command)
    {
        Span<byte> bytes = stackalloc byte[4];
        if (VirtqueueBuffers.CopyFrom(command, bytes) != 4 || bytes[0] != ClassMq || bytes[1] != CommandPairsSet
            || (NegotiatedFeatures & NetFeatures.Mq) == 0)
        {
            return AckError;
        }

        int pairs = BinaryPrimitives.ReadUInt16LittleEndian(bytes[2..]);
        if (pairs < 1 || pairs > _maxPairs)
        {
            return AckError;
        }

        for (int i = pairs; i < _pairs; i++)
        {
            WantReceive(i, false);
        }

        _pairs = pairs;
        _backend.Configure(NetFeatures.ToGuest(NegotiatedFeatures), pairs);
        for (int i = 0; i < pairs * 2; i++)
        {
            Configuration.Kick(i);      // what the driver put into the new pairs before
        }

        return AckOk;
    }
}

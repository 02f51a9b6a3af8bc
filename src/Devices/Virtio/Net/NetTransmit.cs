namespace Vmm.Devices.Virtio.Net;

/// <summary>Frames from the guest (virtio 1.2, section 5.1.6.2).</summary>
public sealed partial class VirtioNet
{
    private const string ShortFrame = "a frame is shorter than its header";

    /// <inheritdoc/>
    public void SendReady(int pair)
    {
        lock (Gate)
        {
            if (_sendBlocked[pair] && TryGetRunning((pair * 2) + 1, out Virtqueue? queue))
            {
                _sendBlocked[pair] = false;
                Transmit(queue);
            }
        }
    }

    private void Transmit(Virtqueue queue)
    {
        int pair = queue.Index / 2;
        if (_sendBlocked[pair])
        {
            return;
        }

        queue.DisableNotify();
        int budget = FramesPerTurn;
        do
        {
            // The first vector is for the header.
            while (queue.TryPop(_sendVectors.AsSpan(1), out DescriptorChain chain))
            {
                if (chain.ReadableBytes < HeaderBytes)
                {
                    queue.Refuse(ShortFrame);
                    break;
                }

                if (_sendLimit is not null && !_sendLimit.CanTake(Charge(chain)))
                {
                    queue.ReturnToQueue(chain);
                    queue.Publish();
                    KickAfter(_sendLimit.WaitFor(Charge(chain)), queue);
                    return;
                }

                if (!Send(pair, chain))
                {
                    queue.ReturnToQueue(chain);
                    queue.Publish();
                    _sendBlocked[pair] = true;      // SendReady goes on
                    return;
                }

                _sendLimit?.Spend(Charge(chain));
                if (!CompleteInTurn(queue, chain, 0, ref budget))
                {
                    return;
                }
            }

            queue.Publish();
        }
        while (queue.EnableNotify());
    }

    private static ulong Charge(in DescriptorChain chain) => Math.Min(chain.ReadableBytes, HeaderBytes + MostFrameBytes);

    /// <summary>False when the backend has no room.</summary>
    private bool Send(int pair, in DescriptorChain chain)
    {
        Span<IoVector> frame = _sendVectors.AsSpan(1, chain.Readable);
        if (chain.ReadableBytes is < HeaderBytes + EthernetHeaderBytes or > HeaderBytes + MostFrameBytes)
        {
            _sendDropped++;
            return true;
        }

        VirtqueueBuffers.CopyFrom(frame, _header);
        if (!NetHeader.TryCorrect(_header, chain.ReadableBytes - HeaderBytes, NegotiatedFeatures))
        {
            _sendDropped++;
            return true;
        }

        // The backend gets the header that was checked, not the one that the guest may have changed since.
        int first = 1 + VirtqueueBuffers.Skip(frame, HeaderBytes);
        _sendVectors[first - 1] = new IoVector(AddressOf(_header), HeaderBytes);
        if (!_backend.TrySend(pair, _sendVectors.AsSpan(first - 1, chain.Readable + 2 - first)))
        {
            return false;
        }

        SentFrames++;
        SentBytes += (long)(chain.ReadableBytes - HeaderBytes);
        return true;
    }
}

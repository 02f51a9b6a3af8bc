using System.Buffers.Binary;

namespace Vmm.Devices.Virtio.Net;

/// <summary>Frames for the guest (virtio 1.2, sections 5.1.6.3 and 5.1.6.4).</summary>
public sealed partial class VirtioNet
{
    // The size of an Ethernet frame without a VLAN tag, which one buffer of Linux holds; and for how many frames after a longer
    // one larger buffers are taken.
    private const ulong CommonBytes = HeaderBytes + 1514;
    private const int LongStreak = 256;

    private const string ShortBuffer = "a receive buffer is shorter than the header";

    /// <inheritdoc/>
    public void ReceiveReady(int pair)
    {
        lock (Gate)
        {
            if (pair < _pairs && TryGetRunning(pair * 2, out Virtqueue? queue))
            {
                Receive(pair, queue);
                queue.Publish();
            }
            else
            {
                WantReceive(pair, false);
            }
        }
    }

    private void Receive(int pair, Virtqueue queue)
    {
        ReceiveQueue held = _receive[pair];
        queue.DisableNotify();
        for (int budget = FramesPerTurn; budget > 0; budget--)
        {
            if (_receiveLimit is not null && !_receiveLimit.CanTake(1))
            {
                WantReceive(pair, false);
                KickAfter(_receiveLimit.WaitFor(1), queue);     // which asks for frames again
                return;
            }

            // Few frames have the maximum length, and a long list of buffers costs the kernel more than the frame itself.
            if (!Gather(queue, held, held.LongFrames > 0 ? _receiveBytes : Math.Min(_receiveBytes, CommonBytes)))
            {
                WantReceive(pair, false);       // asked for again when the driver notifies of buffers
                return;
            }

            int length = _backend.Receive(pair, held.VectorsAnd(new IoVector(AddressOf(_overflow), (nuint)_overflow.Length)));
            if (length <= 0)
            {
                return;
            }

            _receiveLimit?.Spend((ulong)length);
            held.LongFrames = (ulong)length > CommonBytes ? LongStreak : Math.Max(0, held.LongFrames - 1);
            if (length < HeaderBytes || ((ulong)length > held.Bytes && !TakeOverflow(queue, held, (ulong)length)))
            {
                _receiveDropped++;       // the buffers are unused and wait for the next frame
                continue;
            }

            Deliver(queue, held, (ulong)length);
            ReceivedFrames++;
            ReceivedBytes += length - HeaderBytes;
        }
    }

    /// <summary>A frame was longer than the buffers that were taken: takes more, and copies the rest from the device's own
    /// buffer. False when there are not enough, or the frame is longer than the guest accepts.</summary>
    private bool TakeOverflow(Virtqueue queue, ReceiveQueue held, ulong length)
    {
        ulong inPlace = held.Bytes;
        if (length > _receiveBytes || !Gather(queue, held, length) || held.Bytes < length)
        {
            return false;
        }

        VirtqueueBuffers.CopyTo(held.Vectors, inPlace, _overflow.AsSpan(0, (int)(length - inPlace)));
        return true;
    }

    /// <summary>Takes buffers until so many bytes fit (one only, when buffers cannot be merged). False when there is none; the
    /// driver will notify when it adds one.</summary>
    private bool Gather(Virtqueue queue, ReceiveQueue held, ulong bytes)
    {
        int most = HasMergeableBuffers ? int.MaxValue : 1;
        while (held.Count < most && held.HasRoom && held.Bytes < bytes)
        {
            if (!queue.TryPop(held.Room(), out DescriptorChain chain))
            {
                if (held.Count > 0 || !queue.EnableNotify())
                {
                    break;
                }

                queue.DisableNotify();
                continue;
            }

            if (chain.WritableBytes < HeaderBytes)
            {
                queue.Refuse(ShortBuffer);
                break;
            }

            held.Add(chain);
        }

        return held.Count > 0 && queue.IsRunning;
    }

    private static void Deliver(Virtqueue queue, ReceiveQueue held, ulong length)
    {
        Span<byte> buffers = stackalloc byte[2];
        int needed = held.CountFor(length);
        BinaryPrimitives.WriteUInt16LittleEndian(buffers, (ushort)needed);
        VirtqueueBuffers.CopyTo(held.Vectors, NetHeader.NumBuffersOffset, buffers);
        for (int i = 0; i < needed; i++)
        {
            DescriptorChain chain = held.Take();
            ulong part = Math.Min(length, chain.WritableBytes);
            queue.Complete(chain, (uint)part);
            length -= part;
        }
    }
}

namespace Vmm.Devices.Virtio.Rng;

/// <summary>An entropy device (virtio 1.2, section 5.4).</summary>
public sealed class VirtioRng : VirtioDevice
{
    /// <summary>The most that one request gets; section 5.4.6.2 allows less than asked for. Keeps the event loop responsive: a
    /// full queue of requests is 256 KiB, some tenths of a millisecond.</summary>
    public const int MostPerRequest = 4096;

    private const uint DeviceIdEntropy = 4;
    private const ushort QueueLength = 64;
    private const string NoRoom = "a request has no room for a single byte";

    private readonly IEntropySource _source;
    private readonly TokenBucket? _limit;
    private readonly IoVector[] _buffers = new IoVector[QueueLength];

    /// <param name="name">The name in messages and statistics: <c>virtio-rng0</c>.</param>
    /// <param name="source">Gives the random bytes.</param>
    /// <param name="bytesPerSecond">The guest gets no more; zero for no limit.</param>
    /// <param name="time">The clock that the limit goes by.</param>
    public VirtioRng(string name, IEntropySource source, ulong bytesPerSecond = 0, TimeProvider? time = null)
        : base(name, DeviceIdEntropy, features: 0, QueueLength)
    {
        _source = source;
        Time = time ?? TimeProvider.System;
        _limit = TokenBucket.Limit(Time, bytesPerSecond);
    }

    /// <inheritdoc/>
    public override int ConfigLength => 0;

    /// <inheritdoc/>
    protected internal override void ReadConfig(int offset, Span<byte> data)
    {
    }

    /// <inheritdoc/>
    protected override void ProcessQueue(Virtqueue queue)
    {
        queue.DisableNotify();
        int budget = queue.Size;
        do
        {
            while (queue.TryPop(_buffers, out DescriptorChain chain))
            {
                if (chain.WritableBytes == 0)
                {
                    queue.Refuse(NoRoom);        // section 5.4.6.2: one byte at least has to be placed
                    break;
                }

                int wanted = (int)Math.Min(chain.WritableBytes, MostPerRequest);
                if (_limit is not null && !_limit.TryTake((ulong)wanted))
                {
                    queue.ReturnToQueue(chain);
                    queue.Publish();
                    KickAfter(_limit.WaitFor((ulong)wanted), queue);
                    return;
                }

                if (!CompleteInTurn(queue, chain, (uint)Fill(_buffers.AsSpan(chain.Readable, chain.Writable), wanted), ref budget))
                {
                    return;
                }
            }

            queue.Publish();
        }
        while (queue.EnableNotify());
    }

    private int Fill(ReadOnlySpan<IoVector> buffers, int wanted)
    {
        int done = 0;
        for (int i = 0; done < wanted; i++)
        {
            Span<byte> part = VirtqueueBuffers.AsSpan(buffers[i], wanted - done);
            _source.Fill(part);
            done += part.Length;
        }

        return done;
    }
}

/// <summary>Where random bytes come from (getrandom).</summary>
public interface IEntropySource
{
    /// <summary>Fills all of it, without blocking once the host has booted.</summary>
    void Fill(Span<byte> destination);
}

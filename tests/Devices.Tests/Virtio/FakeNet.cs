using Vmm.Devices.Virtio;
using Vmm.Devices.Virtio.Net;

namespace Vmm.Devices.Tests.Virtio;

/// <summary>A network in memory.</summary>
internal sealed class FakeNet(int pairs = 1, NetOffloads offloads = NetOffloads.None) : INetBackend
{
    private readonly Queue<byte[]>[] _incoming = [.. Enumerable.Range(0, pairs).Select(static _ => new Queue<byte[]>())];

    public INetCard Card { get; private set; } = null!;

    public NetOffloads Offloads => offloads;

    public int QueuePairs => pairs;

    public (NetOffloads Accepted, int Pairs) Configured { get; private set; }

    public List<(int Pair, byte[] Frame)> Sent { get; } = [];

    /// <summary>Frames that can be sent before there is no room.</summary>
    public int Room { get; set; } = int.MaxValue;

    public bool[] Wanted { get; } = new bool[pairs];

    /// <summary>There is always another frame: a flood of this.</summary>
    public byte[]? Flood { get; set; }

    public int Received { get; private set; }

    public bool KeepNoRecord { get; set; }

    /// <summary>Behaves as a wrong backend would: claims so many bytes.</summary>
    public int? Claim { get; set; }

    public int Waiting(int pair = 0) => _incoming[pair].Count;

    public long SendDropped { get; set; }

    public long ReceiveDropped { get; set; }

    public void Attach(INetCard card) => Card = card;

    public void Configure(NetOffloads accepted, int pairs) => Configured = (accepted, pairs);

    public void Inject(byte[] frame, int pair = 0) => _incoming[pair].Enqueue(frame);

    /// <summary>The same frames wait as in another network.</summary>
    public void CopyFrom(FakeNet other)
    {
        for (int i = 0; i < pairs; i++)
        {
            foreach (byte[] frame in other._incoming[i])
            {
                Inject(frame, i);
            }
        }
    }

    public bool TrySend(int pair, ReadOnlySpan<IoVector> frame)
    {
        if (Room == 0)
        {
            return false;
        }

        Room--;
        if (!KeepNoRecord)
        {
            int total = 0;
            foreach (IoVector vector in frame)
            {
                total += (int)vector.Length;
            }

            var bytes = new byte[total];
            Assert.Equal(total, VirtqueueBuffers.CopyFrom(frame, bytes));
            Assert.Equal(12u, (uint)frame[0].Length);
            Sent.Add((pair, bytes));
        }

        return true;
    }

    public int Receive(int pair, ReadOnlySpan<IoVector> buffers)
    {
        Assert.True(buffers.Length <= 1024);
        if (Claim is int claim)
        {
            return claim;
        }

        byte[]? frame = Flood;
        if (frame is null && !_incoming[pair].TryDequeue(out frame))
        {
            return 0;
        }

        Received++;
        return VirtqueueBuffers.CopyTo(buffers, frame);
    }

    public void WantReceive(int pair, bool want) => Wanted[pair] = want;

    /// <summary>What an event loop does, level-triggered: one turn.</summary>
    public bool Poll()
    {
        bool any = false;
        for (int i = 0; i < pairs; i++)
        {
            if (Wanted[i] && (Flood is not null || Claim is not null || _incoming[i].Count > 0))
            {
                Card.ReceiveReady(i);
                any = true;
            }
        }

        return any;
    }
}

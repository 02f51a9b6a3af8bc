using Vmm.Backends.Networks;
using Vmm.Devices.Tests.Virtio;
using Vmm.Devices.Virtio;
using Vmm.Devices.Virtio.Net;
using Vmm.Host;

namespace Vmm.Tests.Networks;

/// <summary>Connections that lose and delay frames, by a clock that the test moves.</summary>
public sealed class FaultyNetTests : IDisposable
{
    private readonly EventLoop _loop = new();
    private readonly ManualTime _time = new();
    private readonly List<HandTimer> _timers = [];

    [Fact]
    public void The_same_seed_loses_the_same_frames_each_way_and_another_others()
    {
        (string sent, string received) = Pattern(seed: 7);
        Assert.Equal((sent, received), Pattern(seed: 7));
        Assert.NotEqual(sent, Pattern(seed: 8).Sent);
        Assert.InRange(sent.Count(c => c == '1'), 110, 190);       // of 200, with a loss of a quarter
        Assert.InRange(received.Count(c => c == '1'), 110, 190);
    }

    [Fact]
    public void A_connection_that_loses_everything_passes_nothing_and_does_not_spin()
    {
        var inner = new Echo { Flood = true };
        using var net = new FaultyNet(inner, new NetFaults(1, 0, 0), _time, Timer);
        using var stand = new NetStand(_loop, net);
        stand.Offer(10);
        stand.Send(NetStand.Frame(60));
        stand.Card.ReceiveReady(0);
        Assert.Equal(0, stand.Card.ReceivedFrames);
        Assert.Equal(1, stand.Card.SendDropped);
        Assert.Equal(128, stand.Card.ReceiveDropped);
        Assert.Empty(inner.Sent);
    }

    [Fact]
    public void A_delay_holds_frames_for_its_time_each_way_and_keeps_their_order()
    {
        var inner = new Echo();
        using var net = new FaultyNet(inner, new NetFaults(0, 50, 0), _time, Timer);
        using var stand = new NetStand(_loop, net);
        stand.Offer(20);
        for (byte i = 1; i <= 5; i++)
        {
            stand.Send(NetStand.Frame(60 + i, i));
            inner.Incoming.Enqueue(NetStand.Frame(100 + i, i));
        }

        net.ReceiveReady(0);
        Assert.Empty(inner.Incoming);
        Advance(49);
        Assert.Empty(inner.Sent);
        Assert.Null(stand.TakeFrame());
        Advance(2);
        Assert.Equal([61, 62, 63, 64, 65], inner.Sent.Select(frame => frame.Length));
        for (byte i = 1; i <= 5; i++)
        {
            Assert.Equal(NetStand.Frame(60 + i, i), inner.Sent[i - 1]);
            Assert.Equal(NetStand.Frame(100 + i, i), stand.TakeFrame());
        }
    }

    [Fact]
    public void What_is_under_way_is_bounded_and_what_is_more_is_dropped()
    {
        var inner = new Echo { Flood = true };
        using var net = new FaultyNet(inner, new NetFaults(0, 60_000, 0), _time, Timer);
        using var stand = new NetStand(_loop, net);
        long before = GC.GetAllocatedBytesForCurrentThread();
        for (int i = 0; i < 2000; i++)
        {
            net.ReceiveReady(0);
        }

        // 256,000 frames of 60 bytes; 4 MiB hold about 50,000. An object for each frame would be 6 MB; the runtime may make
        // a few of its own.
        Assert.InRange(GC.GetAllocatedBytesForCurrentThread() - before, 0, 64 << 10);
        Assert.InRange(stand.Card.ReceiveDropped, 190_000, 220_000);
    }

    [Fact]
    public void A_full_inner_backend_is_waited_for()
    {
        var inner = new Echo { Room = 1 };
        using var net = new FaultyNet(inner, new NetFaults(0, 10, 0), _time, Timer);
        using var stand = new NetStand(_loop, net);
        stand.Send(NetStand.Frame(60, 1));
        stand.Send(NetStand.Frame(61, 2));
        Advance(11);
        Assert.Single(inner.Sent);
        Assert.All(_timers, timer => Assert.False(timer.IsSet));       // nothing spins
        inner.Room = 10;
        net.SendReady(0);
        Assert.Equal(2, inner.Sent.Count);
    }

    public void Dispose() => _loop.Dispose();

    private (string Sent, string Received) Pattern(int seed)
    {
        var inner = new Echo();
        using var net = new FaultyNet(inner, new NetFaults(0.25, 0, seed), _time, Timer);
        using var stand = new NetStand(_loop, net);
        stand.Offer(200);
        string sent = "", received = "";
        for (byte i = 0; i < 200; i++)
        {
            int before = inner.Sent.Count;
            stand.Send(NetStand.Frame(60));
            sent += inner.Sent.Count > before ? '1' : '0';
            inner.Incoming.Enqueue(NetStand.Frame(60));
            stand.Card.ReceiveReady(0);
            received += stand.TakeFrame() is null ? '0' : '1';
        }

        return (sent, received);
    }

    private void Advance(int milliseconds)
    {
        _time.Advance(TimeSpan.FromMilliseconds(milliseconds));
        foreach (HandTimer timer in _timers)
        {
            timer.FireIfDue(_time.GetTimestamp());
        }
    }

    private HandTimer Timer(Action elapsed)
    {
        var timer = new HandTimer(_time, elapsed);
        _timers.Add(timer);
        return timer;
    }

    private sealed class HandTimer(TimeProvider time, Action elapsed) : ILoopTimer
    {
        private long _due = long.MaxValue;

        public bool IsSet => _due != long.MaxValue;

        public void Set(TimeSpan delay) => _due = time.GetTimestamp() + (long)(delay.TotalSeconds * time.TimestampFrequency);

        public void FireIfDue(long now)
        {
            if (now >= _due)
            {
                _due = long.MaxValue;
                elapsed();
            }
        }

        public void Dispose() => _due = long.MaxValue;
    }

    /// <summary>A connection in memory.</summary>
    private sealed class Echo : INetBackend
    {
        private static readonly byte[] NoHeader = new byte[VirtioNet.HeaderBytes], Small = NetStand.Frame(60);

        public List<byte[]> Sent { get; } = [];

        public Queue<byte[]> Incoming { get; } = new();

        public bool Flood { get; init; }

        public int Room { get; set; } = int.MaxValue;

        public NetOffloads Offloads => NetOffloads.None;

        public int QueuePairs => 1;

        public long SendDropped => 0;

        public long ReceiveDropped => 0;

        public void Attach(INetCard card)
        {
        }

        public void Configure(NetOffloads accepted, int pairs)
        {
        }

        public bool TrySend(int pair, ReadOnlySpan<IoVector> frame)
        {
            if (Room == 0)
            {
                return false;
            }

            Room--;
            byte[] bytes = new byte[1 << 16];
            int length = IoVectors.CopyFrom(frame, VirtioNet.HeaderBytes, bytes);
            Sent.Add(bytes[..length]);
            return true;
        }

        public int Receive(int pair, ReadOnlySpan<IoVector> buffers) =>
            Flood ? IoVectors.Fill(buffers, NoHeader, Small)
            : Incoming.TryDequeue(out byte[]? frame) ? IoVectors.Fill(buffers, NoHeader, frame)
            : 0;

        public void WantReceive(int pair, bool want)
        {
        }
    }
}

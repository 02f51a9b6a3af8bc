using System.Diagnostics;
using Vmm.Backends.Networks;
using Vmm.Devices.Bus;
using Vmm.Devices.Memory;
using Vmm.Devices.Virtio;
using Vmm.Devices.Virtio.Net;
using Vmm.Host;
using Vmm.Machines;

namespace Vmm.DeviceSide;

/// <summary>Two network cards as the product has them, from the rings to their taps, and all that Linux negotiates. One
/// thread is the driver of both and the event loop; frames go out of one card, through whatever joins the taps (a bridge),
/// and into the other, a burst at a time, as in the C program beside it (bench/tap/loop.c).</summary>
internal sealed unsafe class NetFigures : IInterruptTrigger, IQueueNotifier, IDeviceLog, IDisposable
{
    private const int QueueSize = 256, Burst = 64;
    private const int Receive = 0, Transmit = 1;
    private const uint FrameBytes = 1500, BufferBytes = 1536;
    private const ulong Frames = 0x100000, Buffers = 0x200000;

    private readonly GuestRam _ram = new(64 << 20);
    private readonly EventLoop _loop = new();
    private readonly TapNet _from;
    private readonly TapNet _to;
    private readonly VirtioNet _sender;
    private readonly VirtioNet _receiver;
    private readonly SplitRing _sending;
    private readonly SplitRing _receiving;

    private NetFigures(string from, string to)
    {
        _from = new TapNet(_loop, from, 1, this);
        _to = new TapNet(_loop, to, 1, this);
        (_sender, _sending, _) = Card(_from, 0x10000, [2, 0, 0, 0, 0, 1]);
        (_receiver, _, _receiving) = Card(_to, 0x40000, [2, 0, 0, 0, 0, 2]);
        for (int i = 0; i < QueueSize; i++)
        {
            ulong frame = Frames + ((ulong)i * BufferBytes);
            _ram.Memory.Write(new GuestAddress(frame + VirtioNet.HeaderBytes), (ReadOnlySpan<byte>)[2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 0x88, 0xb5]);
            _sending.Describe(i, frame, VirtioNet.HeaderBytes + FrameBytes, 0, 0);
            _receiving.Describe(i, Buffers + ((ulong)i * BufferBytes), BufferBytes, SplitRing.Write, 0);
            _receiving.Add(i);
        }

        _receiving.Offer();
        _receiver.Notify(Receive);
    }

    /// <returns>Frames a second, and bytes allocated while they were counted.</returns>
    public static (double FramesPerSecond, long Bytes) ThroughTaps(string from, string to, TimeSpan time)
    {
        using var figures = new NetFigures(from, to);
        figures.Run(TimeSpan.FromMilliseconds(500));        // code is compiled, and compiled better, meanwhile
        long allocated = GC.GetAllocatedBytesForCurrentThread();
        long start = Stopwatch.GetTimestamp();
        long frames = figures.Run(time);
        double seconds = Stopwatch.GetElapsedTime(start).TotalSeconds;
        return (frames / seconds, GC.GetAllocatedBytesForCurrentThread() - allocated);
    }

    public void Trigger()
    {
    }

    public void Kick(VirtioDevice device, int queue)
    {
    }

    public void Warn(string device, string message) => throw new InvalidOperationException($"{device}: {message}");

    public void Dispose()
    {
        _from.Dispose();
        _to.Dispose();
        _loop.Dispose();
        _ram.Dispose();
    }

    private (VirtioNet Card, SplitRing Transmit, SplitRing Receive) Card(TapNet tap, ulong rings, byte[] mac)
    {
        var card = new VirtioNet("virtio-net", tap, new NetOptions { Mac = mac, QueueSize = QueueSize });
        var receive = new SplitRing(_ram.Memory, QueueSize, rings);
        var transmit = new SplitRing(_ram.Memory, QueueSize, rings + 0x10000);
        var driver = new MmioDriver(card, _ram.Memory, this, this);
        driver.Negotiate(card.OfferedFeatures & ~VirtioFeatures.RingPacked);
        driver.EnableQueue(Receive, receive);
        driver.EnableQueue(Transmit, transmit);
        driver.Go();
        return (card, transmit, receive);
    }

    private long Run(TimeSpan time)
    {
        long frames = 0;
        int next = 0;
        long end = Stopwatch.GetTimestamp() + (long)(time.TotalSeconds * Stopwatch.Frequency);
        while (Stopwatch.GetTimestamp() < end)
        {
            for (int i = 0; i < Burst; i++)
            {
                _sending.Add(next++ & (QueueSize - 1));
            }

            if (_sending.Offer())
            {
                _sender.Notify(Transmit);
            }

            for (int i = 0; i < Burst; i++)
            {
                if (!_sending.TryTake(out _))
                {
                    throw new InvalidOperationException("a frame was not sent");
                }
            }

            _sending.WantInterrupt();
            for (int got = 0; got < Burst;)
            {
                _loop.Turn(1000);
                while (_receiving.TryTake(out int buffer))
                {
                    _receiving.Add(buffer);
                    got++;
                    frames++;
                }

                _receiving.WantInterrupt();
                if (_receiving.Offer())
                {
                    _receiver.Notify(Receive);
                }
            }
        }

        return frames;
    }
}

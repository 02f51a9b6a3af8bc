using System.Buffers.Binary;
using Vmm.Devices.Memory;
using Vmm.Devices.Virtio;
using Vmm.Devices.Virtio.Net;

namespace Vmm.Devices.Tests.Virtio;

internal sealed class NetRig : IDisposable
{
    public const NetOffloads AllOffloads =
        NetOffloads.Checksum | NetOffloads.Tso4 | NetOffloads.Tso6 | NetOffloads.Ecn | NetOffloads.Ufo;

    public NetRig(
        Variant variant, int pairs = 1, NetOffloads offloads = NetOffloads.None, NetOptions? options = null, ulong refuse = 0,
        TimeProvider? time = null, bool start = true)
    {
        Backend = new FakeNet(pairs, offloads);
        Card = new VirtioNet("net0", Backend, options ?? new NetOptions { Mac = Mac }, time) { RingFeatures = TestTransports.RingFeatures };
        Driver = new TestDriver(Rig, Card, variant);
        Rig.Poller = Backend.Poll;
        if (start)
        {
            Driver.Start(refuse);
        }
    }

    public static byte[] Mac => [0x52, 0x54, 0, 1, 2, 3];

    public TestRig Rig { get; } = new();

    public FakeNet Backend { get; }

    public VirtioNet Card { get; }

    public TestDriver Driver { get; }

    public TestDriverQueue Receive => Driver.Queues[0];

    public TestDriverQueue Transmit => Driver.Queues[1];

    public static byte[] Frame(int length, int seed = 1)
    {
        var frame = new byte[12 + length];
        new Random(seed).NextBytes(frame.AsSpan(12));
        return frame;
    }

    /// <summary>Sends one frame with its header; was it taken?</summary>
    public bool Send(ReadOnlySpan<byte> frame)
    {
        ulong at = Driver.Place(frame);
        Transmit.Add(new Buffer(at, (uint)frame.Length, false));
        Driver.Kick(1);
        return Transmit.TryTake(out _, out _);
    }

    public ulong[] Offer(int count, uint size)
    {
        var buffers = new ulong[count];
        for (int i = 0; i < count; i++)
        {
            buffers[i] = Driver.Allocate(size);
            Receive.Add(new Buffer(buffers[i], size, true));
        }

        return buffers;
    }

    public void Dispose() => Rig.Dispose();
}

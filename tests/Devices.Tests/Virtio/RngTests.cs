using Vmm.Devices.Virtio;
using Vmm.Devices.Virtio.Rng;

namespace Vmm.Devices.Tests.Virtio;

public sealed class RngTests
{
    [Theory]
    [MemberData(nameof(Variant.All), MemberType = typeof(Variant))]
    public void Buffers_are_filled_up_to_the_limit_of_a_request(Variant variant)
    {
        using var rig = new TestRig();
        var source = new FakeEntropy();
        var device = new VirtioRng("rng", source) { RingFeatures = TestTransports.RingFeatures };
        var driver = new TestDriver(rig, device, variant);
        driver.Start();
        Assert.Equal(4u, driver.Transport.DeviceId);
        ulong at = driver.Allocate(10000);
        TestDriverQueue queue = driver.Queues[0];
        foreach ((uint asked, uint got) in new (uint, uint)[] { (1, 1), (64, 64), (4096, 4096), (4097, 4096), (10000, 4096) })
        {
            queue.Write<byte>(at + got, 0);
            queue.Add(asked == 1 ? [new Buffer(at, asked, true)] : [new Buffer(at, 1, true), new Buffer(at + 1, asked - 1, true)]);
            driver.Kick();
            Assert.True(queue.TryTake(out _, out uint length));
            Assert.Equal(got, length);
            Assert.Equal(0x5a, queue.Read<byte>(at + got - 1));
            Assert.Equal(0, queue.Read<byte>(at + got));
        }
    }

    [Theory]
    [MemberData(nameof(Variant.All), MemberType = typeof(Variant))]
    public void A_limit_holds_and_nothing_is_forgotten(Variant variant)
    {
        using var rig = new TestRig();
        var source = new FakeEntropy();
        var time = new ManualTime();
        var device = new VirtioRng("rng", source, 10_000, time) { RingFeatures = TestTransports.RingFeatures };
        var driver = new TestDriver(rig, device, variant);
        driver.Start();
        ulong at = driver.Allocate(100);
        for (int i = 0; i < 60; i++)
        {
            driver.Queues[0].Add(new Buffer(at, 100, true));
        }

        driver.Kick();
        Assert.Equal(1000, source.Bytes);           // a tenth of a second's worth saved up
        Assert.Equal(0, rig.RunLoop());             // and no spinning
        for (int i = 1; i <= 10; i++)
        {
            time.Advance(TimeSpan.FromMilliseconds(50));
            rig.RunLoop();
            Assert.InRange(source.Bytes, 1000 + (i * 500) - 100, 1000 + (i * 500));
        }

        time.Advance(TimeSpan.FromSeconds(1));
        rig.RunLoop();
        time.Advance(TimeSpan.FromSeconds(1));
        rig.RunLoop();
        int taken = 0;
        while (driver.Queues[0].TryTake(out _, out uint length))
        {
            Assert.Equal(100u, length);
            taken++;
        }

        Assert.Equal(60, taken);
    }

    [Theory]
    [MemberData(nameof(Variant.All), MemberType = typeof(Variant))]
    public void A_turn_of_the_loop_serves_a_queue_at_most(Variant variant)
    {
        using var rig = new TestRig();
        var source = new FakeEntropy();
        var driver = new TestDriver(rig, new VirtioRng("rng", source) { RingFeatures = TestTransports.RingFeatures }, variant);
        driver.Start();
        ulong at = driver.Allocate(64);
        for (int i = 0; i < 64; i++)
        {
            driver.Queues[0].Add(new Buffer(at, 1, true));
        }

        driver.Transport.Notify(0);
        rig.RunLoop(turns: 1);
        Assert.Equal(64, source.Bytes);
        Assert.Equal(1, rig.RunLoop());     // it comes round again and finds nothing
    }
}

using Vmm.Devices.Virtio;
using Vmm.Devices.Virtio.Block;

namespace Vmm.Devices.Tests.Virtio;

/// <summary>Status, negotiation and queue set-up (virtio 1.2, sections 2.1 to 2.6 and 3.1), for every device
/// over every transport.</summary>
public sealed class LifecycleTests
{
    [Theory]
    [MemberData(nameof(TestTarget.All), MemberType = typeof(TestTarget))]
    public void Status_bits_are_only_set_in_order(Variant variant, TargetKind kind)
    {
        using var target = new TestTarget(kind, variant, start: false);
        TestTransport transport = target.Driver.Transport;
        transport.Status = TestDriver.DriverBit;
        Assert.Equal(0u, transport.Status);
        transport.Status = TestDriver.FeaturesOk | TestDriver.DriverOk | TestDriver.NeedsReset | 0x30;
        Assert.Equal(0u, transport.Status);
        transport.Status = TestDriver.Acknowledge;
        transport.Status = TestDriver.Acknowledge | TestDriver.DriverOk;
        Assert.Equal(TestDriver.Acknowledge, transport.Status);
        transport.Status = TestDriver.Acknowledge | TestDriver.DriverBit;
        Assert.Equal(3u, transport.Status);
        transport.Status = 3 | TestDriver.DriverOk;         // FEATURES_OK skipped
        Assert.Equal(3u, transport.Status);
    }

    [Theory]
    [MemberData(nameof(TestTarget.All), MemberType = typeof(TestTarget))]
    public void Status_bits_are_not_cleared_one_by_one(Variant variant, TargetKind kind)
    {
        using var target = new TestTarget(kind, variant);
        target.Driver.Transport.Status = TestDriver.Acknowledge;
        Assert.Equal(TestDriver.Live, target.Driver.Transport.Status);
        target.AssertServes();
    }

    [Theory]
    [MemberData(nameof(TestTarget.All), MemberType = typeof(TestTarget))]
    public void Features_never_offered_cost_FEATURES_OK(Variant variant, TargetKind kind)
    {
        using var target = new TestTarget(kind, variant, start: false);
        TestTransport transport = target.Driver.Transport;
        ulong offered = transport.DeviceFeatures;
        for (int bit = 0; bit < 64; bit++)
        {
            if ((offered & (1UL << bit)) == 0)
            {
                transport.Status = 0;
                transport.Status = 3;
                transport.DriverFeatures = VirtioFeatures.Version1 | (1UL << bit);
                transport.Status = 3 | TestDriver.FeaturesOk;
                Assert.Equal(3u, transport.Status);
            }
        }

        transport.DriverFeatures = VirtioFeatures.Version1;
        transport.Status = 3 | TestDriver.FeaturesOk;
        Assert.Equal(11u, transport.Status);
    }

    [Theory]
    [MemberData(nameof(TestTarget.All), MemberType = typeof(TestTarget))]
    public void A_driver_without_VERSION_1_is_refused(Variant variant, TargetKind kind)
    {
        using var target = new TestTarget(kind, variant, start: false);
        TestTransport transport = target.Driver.Transport;
        Assert.NotEqual(0UL, transport.DeviceFeatures & VirtioFeatures.Version1);
        transport.Status = 3;
        transport.DriverFeatures = transport.DeviceFeatures & ~VirtioFeatures.Version1;
        transport.Status = 3 | TestDriver.FeaturesOk;
        Assert.Equal(3u, transport.Status);
    }

    [Theory]
    [MemberData(nameof(TestTarget.All), MemberType = typeof(TestTarget))]
    public void Features_are_frozen_by_FEATURES_OK(Variant variant, TargetKind kind)
    {
        using var target = new TestTarget(kind, variant);
        target.Driver.Transport.DriverFeatures = ulong.MaxValue;
        Assert.Equal(target.Driver.Features, target.Device.Configuration.NegotiatedFeatures);
        target.AssertServes();
    }

    [Theory]
    [MemberData(nameof(TestTarget.All), MemberType = typeof(TestTarget))]
    public void A_driver_that_gave_up_is_not_served(Variant variant, TargetKind kind)
    {
        using var target = new TestTarget(kind, variant);
        target.Driver.Transport.Status = TestDriver.Live | TestDriver.Failed;
        Assert.Equal(TestDriver.Live | TestDriver.Failed, target.Driver.Transport.Status);
        target.Ring.Add(target.Valid());
        target.Poke();
        Assert.False(target.Ring.TryTake(out _, out _));
        target.Driver.Start();
        target.AssertServes();
    }

    [Theory]
    [MemberData(nameof(TestTarget.All), MemberType = typeof(TestTarget))]
    public void Nothing_is_served_before_DRIVER_OK_and_nothing_is_forgotten(Variant variant, TargetKind kind)
    {
        using var target = new TestTarget(kind, variant, start: false);
        target.Driver.Negotiate();
        target.Driver.SetUpQueues();
        target.Ring.Add(target.Valid());
        target.Poke();
        Assert.False(target.Ring.TryTake(out _, out _));
        target.Driver.Transport.Status |= TestDriver.DriverOk;
        target.Rig.RunLoop();
        Assert.True(target.Ring.TryTake(out _, out _));
    }

    [Theory]
    [MemberData(nameof(TestTarget.All), MemberType = typeof(TestTarget))]
    public void Queues_are_not_enabled_before_FEATURES_OK(Variant variant, TargetKind kind)
    {
        using var target = new TestTarget(kind, variant, start: false);
        TestTransport transport = target.Driver.Transport;
        transport.Status = 3;
        transport.SetQueue(target.Queue, 16, 0x10000, 0x11000, 0x12000);
        transport.EnableQueue(target.Queue);
        Assert.False(transport.IsQueueEnabled(target.Queue));
        Assert.Equal(3u, transport.Status);
    }

    [Theory]
    [MemberData(nameof(TestTarget.All), MemberType = typeof(TestTarget))]
    public void Queues_of_a_wrong_size_are_refused(Variant variant, TargetKind kind)
    {
        using var target = new TestTarget(kind, variant, start: false);
        var sizes = new List<uint> { 0, 128, 0x8000 };
        if (target.Driver.Transport is TestTransportMmio)
        {
            sizes.AddRange([0x10040, 0x8000_0000, uint.MaxValue]);      // the register is wider than the size
        }

        if (variant.Ring == RingKind.Split)
        {
            sizes.AddRange([3, 63]);
        }

        foreach (uint size in sizes)
        {
            Refused(target, size, 0x10000, 0x20000, 0x30000, "size");
        }
    }

    [Theory]
    [MemberData(nameof(TestTarget.All), MemberType = typeof(TestTarget))]
    public void Rings_in_wrong_places_are_refused(Variant variant, TargetKind kind)
    {
        using var target = new TestTarget(kind, variant, start: false);
        (ulong Descriptors, ulong Driver, ulong Device, string Fault)[] wrong =
        [
            (0x10008, 0x20000, 0x30000, "aligned"),
            (0x10000, 0x20001, 0x30000, "aligned"),
            (0x10000, 0x20000, 0x30002, "aligned"),
            (TestRig.LowMemory, 0x20000, 0x30000, "outside"),
            (TestRig.LowMemory - 16, 0x20000, 0x30000, "outside"),
            (0x10000, TestRig.LowMemory, 0x30000, "outside"),
            (0x10000, 0xd000_0000, 0x30000, "outside"),
            (0x10000, 0x20000, 0xffff_ffff_ffff_fffc, "outside"),
            (0xffff_ffff_ffff_fff0, 0x20000, 0x30000, "outside"),
            (0x10000, 0x20000, TestRig.HighStart + TestRig.HighMemory, "outside"),
            (0x10000, 0x10000, 0x30000, "overlap"),
            (0x10000, 0x20000, 0x10000, "overlap"),
            (0x10000, 0x20000, 0x20000, "overlap"),
            (0x10000, 0x100fc, 0x30000, "overlap"),
        ];
        foreach ((ulong descriptors, ulong driver, ulong device, string fault) in wrong)
        {
            Refused(target, 16, descriptors, driver, device, fault);
        }
    }

    [Theory]
    [MemberData(nameof(Variant.All), MemberType = typeof(Variant))]
    public void Packed_rings_need_no_power_of_two(Variant variant)
    {
        using var target = new TestTarget(TargetKind.Rng, variant, start: false);
        target.Driver.Negotiate();
        target.Driver.Transport.SetQueue(0, 13, 0x10000, 0x20000, 0x30000);
        target.Driver.Transport.EnableQueue(0);
        Assert.Equal(variant.Ring == RingKind.Packed, target.Driver.Transport.IsQueueEnabled(0));
    }

    [Theory]
    [MemberData(nameof(TestTarget.All), MemberType = typeof(TestTarget))]
    public void Rings_above_4_GiB_work(Variant variant, TargetKind kind)
    {
        using var target = new TestTarget(kind, variant, start: false);
        target.Driver.RingBase = TestRig.HighStart;
        target.Driver.RingGap = 0x1000;
        target.Driver.Start(queueSize: 16);
        target.AssertServes();
    }

    [Theory]
    [MemberData(nameof(TestTarget.All), MemberType = typeof(TestTarget))]
    public void Queue_registers_rewritten_after_DRIVER_OK_change_nothing(Variant variant, TargetKind kind)
    {
        using var target = new TestTarget(kind, variant);
        foreach (ulong nonsense in new ulong[] { 0, 0xd000_0000, ulong.MaxValue })
        {
            target.Driver.Transport.SetQueue(target.Queue, (uint)nonsense, nonsense, nonsense, nonsense);
            target.Driver.Transport.EnableQueue(target.Queue);
            target.AssertServes();
        }

        Assert.Empty(target.Rig.Log);
    }

    [Theory]
    [MemberData(nameof(TestTarget.All), MemberType = typeof(TestTarget))]
    public void Queues_that_do_not_exist_read_as_zero_and_take_nothing(Variant variant, TargetKind kind)
    {
        using var target = new TestTarget(kind, variant);
        TestTransport transport = target.Driver.Transport;
        foreach (int queue in new[] { target.Device.QueueSizes.Length, 0x7fff, 0xffff })
        {
            Assert.Equal(0u, transport.QueueMaxSize(queue));
            transport.SetQueue(queue, 16, 0x10000, 0x20000, 0x30000);
            transport.EnableQueue(queue);
            Assert.False(transport.IsQueueEnabled(queue));
            transport.ResetQueue(queue);
            Assert.False(transport.IsQueueResetting(queue));
        }

        target.AssertServes();
    }

    [Theory]
    [MemberData(nameof(TestTarget.All), MemberType = typeof(TestTarget))]
    public void Notifications_of_queues_that_do_not_exist_are_nothing(Variant variant, TargetKind kind)
    {
        using var target = new TestTarget(kind, variant);
        foreach (uint queue in new[] { (uint)target.Device.QueueSizes.Length, 64u, 0xffffu })
        {
            target.Driver.Transport.Notify(queue);
        }

        target.Device.Notify(-1);
        target.Device.Notify(int.MaxValue);
        Assert.Equal(0, target.Rig.RunLoop());
        target.AssertServes();
    }

    [Theory]
    [MemberData(nameof(TestTarget.All), MemberType = typeof(TestTarget))]
    public void Nonsense_at_any_offset_and_width_does_no_harm(Variant variant, TargetKind kind)
    {
        using var target = new TestTarget(kind, variant);
        var random = new Random(7);
        var data = new byte[8];
        for (int i = 0; i < 5000; i++)
        {
            random.NextBytes(data);
            Span<byte> access = data.AsSpan(0, random.Next(1, 9));
            target.Driver.Transport.Raw((ulong)random.NextInt64((long)target.Driver.Transport.RawLength), access, i % 2 == 0);
            target.Rig.RunLoop(100);
        }

        target.Rig.Log.Clear();
        target.Driver.Start();
        target.AssertServes();
    }

    private static void Refused(TestTarget target, uint size, ulong descriptors, ulong driver, ulong device, string fault)
    {
        TestTransport transport = target.Driver.Transport;
        transport.Status = 0;
        target.Driver.Negotiate();
        transport.SetQueue(target.Queue, size, descriptors, driver, device);
        transport.EnableQueue(target.Queue);
        Assert.False(transport.IsQueueEnabled(target.Queue));
        Assert.Equal(11u | TestDriver.NeedsReset, transport.Status);
        Assert.Contains(fault, Assert.Single(target.Rig.Log), StringComparison.Ordinal);
        target.Rig.Log.Clear();
        transport.Status |= TestDriver.DriverOk;
        target.Poke();
        Assert.Equal(0u, transport.TakeInterrupts());
    }
}

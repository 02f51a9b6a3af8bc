using Vmm.Devices.Virtio;
using Vmm.Devices.Virtio.Block;

namespace Vmm.Devices.Tests.Virtio;

/// <summary>Status, negotiation, queue set-up and resets (virtio 1.2, sections 2.1 to 2.6 and 3.1), for every device
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

    [Theory]
    [MemberData(nameof(TestTarget.All), MemberType = typeof(TestTarget))]
    public void A_reset_starts_from_the_beginning(Variant variant, TargetKind kind)
    {
        using var target = new TestTarget(kind, variant);
        for (int i = 0; i < 5; i++)
        {
            target.Ring.Add(target.Valid());
            target.Poke();
            target.Driver.Transport.Status = 0;
            Assert.Equal(0u, target.Driver.Transport.Status);
            Assert.False(target.Driver.Transport.IsQueueEnabled(target.Queue));
            if (target.Driver.Transport is TestTransportMmio)
            {
                Assert.Equal(0u, target.Driver.Transport.TakeInterrupts());     // over pci the messages are on their way
            }

            target.Driver.Start();
            target.AssertServes();
        }
    }

    [Theory]
    [MemberData(nameof(TestTarget.All), MemberType = typeof(TestTarget))]
    public void A_queue_is_reset_and_enabled_again_alone(Variant variant, TargetKind kind)
    {
        using var target = new TestTarget(kind, variant);
        for (int i = 0; i < 5; i++)
        {
            target.AssertServes();
            target.Driver.Transport.ResetQueue(target.Queue);
            Assert.False(target.Driver.Transport.IsQueueResetting(target.Queue));
            Assert.False(target.Driver.Transport.IsQueueEnabled(target.Queue));
            target.Poke();
            Assert.Equal(TestDriver.Live, target.Driver.Transport.Status);
            target.Driver.SetUpQueue(target.Queue);
        }

        target.AssertServes();
    }

    [Theory]
    [MemberData(nameof(TestTarget.All), MemberType = typeof(TestTarget))]
    public void A_queue_reset_that_was_not_negotiated_is_ignored(Variant variant, TargetKind kind)
    {
        using var target = new TestTarget(kind, variant, refuse: VirtioFeatures.RingReset);
        target.Driver.Transport.ResetQueue(target.Queue);
        Assert.True(target.Driver.Transport.IsQueueEnabled(target.Queue));
        target.AssertServes();
    }

    [Theory]
    [MemberData(nameof(TestTarget.All), MemberType = typeof(TestTarget))]
    public void A_reset_with_a_full_queue_starts_from_the_beginning(Variant variant, TargetKind kind)
    {
        using var target = new TestTarget(kind, variant);
        for (int i = 0; i < 5; i++)
        {
            // As many as fit; the loop takes one turn at some of them, and the rest is there when the reset comes.
            Buffer[] request = target.Valid();
            for (int left = (int)target.Ring.Size / request.Length; left > 0; left--)
            {
                target.Ring.Add(request);
            }

            target.Driver.Transport.Notify((uint)target.Queue);
            target.Rig.RunLoop(turns: i % 2);
            target.Driver.Transport.Status = 0;
            Assert.Equal(0u, target.Driver.Transport.Status);
            Assert.True(target.Rig.RunLoop(1000) < 1000, "the loop spins after a reset");
            target.Driver.Start();
            target.AssertServes();
        }

        Assert.Empty(target.Rig.Log);
    }

    [Theory]
    [MemberData(nameof(Variant.All), MemberType = typeof(Variant))]
    public void A_reset_under_load_ends_with_the_last_request_in_flight(Variant variant)
    {
        using var rig = new BlockRig(variant);
        rig.Disk.Immediate = false;
        ulong data = rig.Driver.Allocate(4096);
        for (int i = 0; i < 8; i++)
        {
            rig.Add(BlockRig.In, 0, data, 512, out _);
        }

        rig.Driver.Kick();
        Assert.Equal(8, rig.Disk.InFlight.Count);
        rig.Driver.Transport.TakeInterrupts();
        int interrupts = rig.Rig.Interrupts;
        byte[] rings = rig.Fetch(TestDriver.RingStart, 0x4000);
        ulong status = rig.LastStatus;

        rig.Driver.Transport.Status = 0;
        while (rig.Disk.InFlight.Count > 0)
        {
            Assert.NotEqual(0u, rig.Driver.Transport.Status);
            rig.Driver.Transport.Status = TestDriver.Acknowledge;       // too early: nothing comes of it
            rig.Driver.Transport.SetQueue(0, 16, 0x10000, 0x20000, 0x30000);
            rig.Driver.Transport.EnableQueue(0);
            rig.Disk.Complete(rig.Disk.InFlight.Count / 2);
        }

        Assert.Equal(0u, rig.Driver.Transport.Status);
        Assert.Equal(rings, rig.Fetch(TestDriver.RingStart, 0x4000));
        Assert.Equal(0xee, rig.Queue.Read<byte>(status));
        Assert.Equal(interrupts, rig.Rig.Interrupts);
        rig.Disk.Immediate = true;
        rig.Driver.Start();
        Assert.Equal(0, rig.Do(BlockRig.In, 0, data, 512));
    }

    [Theory]
    [MemberData(nameof(Variant.All), MemberType = typeof(Variant))]
    public void A_queue_reset_under_load_ends_with_its_last_request(Variant variant)
    {
        using var rig = new BlockRig(variant, new BlockOptions { Queues = 2 });
        rig.Disk.Immediate = false;
        ulong data = rig.Driver.Allocate(4096);
        rig.Add(BlockRig.In, 0, data, 512, out _, queue: 0);
        rig.Add(BlockRig.In, 1, data, 512, out _, queue: 0);
        rig.Add(BlockRig.In, 2, data, 512, out _, queue: 1);
        rig.Driver.Kick(0);
        rig.Driver.Kick(1);
        byte[] rings = rig.Fetch(TestDriver.RingStart, 0x4000);
        rig.Driver.Transport.ResetQueue(0);
        Assert.True(rig.Driver.Transport.IsQueueResetting(0));
        rig.Disk.Complete(2);
        Assert.True(rig.Driver.Queues[1].TryTake(out _, out _));        // the other queue goes on
        rig.Disk.Complete(0);
        Assert.True(rig.Driver.Transport.IsQueueResetting(0));
        rig.Disk.Complete(0);
        Assert.False(rig.Driver.Transport.IsQueueResetting(0));
        Assert.Equal(rings, rig.Fetch(TestDriver.RingStart, 0x4000));
        rig.Disk.Immediate = true;
        rig.Driver.SetUpQueue(0);
        Assert.Equal(0, rig.Do(BlockRig.In, 0, data, 512));
    }

    [Theory]
    [MemberData(nameof(Variant.All), MemberType = typeof(Variant))]
    public void A_reset_during_a_queue_reset_waits_for_both(Variant variant)
    {
        using var rig = new BlockRig(variant);
        rig.Disk.Immediate = false;
        rig.Add(BlockRig.In, 0, rig.Driver.Allocate(512), 512, out _);
        rig.Driver.Kick();
        rig.Driver.Transport.ResetQueue(0);
        rig.Driver.Transport.Status = 0;
        Assert.NotEqual(0u, rig.Driver.Transport.Status);
        rig.Disk.Complete(0);
        Assert.Equal(0u, rig.Driver.Transport.Status);
        rig.Disk.Immediate = true;
        rig.Driver.Start();
        Assert.Equal(0, rig.Do(BlockRig.Flush, 0, 0, 0));
    }

    [Fact]
    public void Over_mmio_a_reset_waits_for_the_loop_as_Linux_does_not()
    {
        using var rig = new BlockRig(Variant.Default, waitsForResets: true);
        rig.Disk.Immediate = false;
        rig.Add(BlockRig.In, 0, rig.Driver.Allocate(512), 512, out _);
        rig.Driver.Kick();
        using var started = new ManualResetEventSlim();
        var loop = new Thread(() =>
        {
            started.Wait();
            rig.Disk.Complete(0);
        });
        loop.Start();
        started.Set();
        rig.Driver.Transport.Status = 0;
        Assert.Equal(0u, rig.Driver.Transport.Status);
        loop.Join();
    }

    /// <summary>Linux takes the memory for something else once its one write has returned.</summary>
    [Fact]
    public void Over_mmio_a_reset_waits_however_long_the_host_takes()
    {
        using var rig = new BlockRig(Variant.Default, waitsForResets: true);
        rig.Disk.Immediate = false;
        ulong data = rig.Driver.Allocate(512);
        rig.Add(BlockRig.In, 0, data, 512, out _);
        rig.Driver.Kick();
        uint status = uint.MaxValue;
        var vcpu = new Thread(() =>
        {
            rig.Driver.Transport.Status = 0;
            status = rig.Driver.Transport.Status;
        });
        vcpu.Start();
        Assert.False(vcpu.Join(1500), "the reset is over while the host still writes");
        Assert.Contains("waits for the host", Assert.Single(rig.Rig.Log), StringComparison.Ordinal);
        rig.Disk.Complete(0);
        vcpu.Join();
        Assert.Equal(0u, status);
        byte[] after = rig.Fetch(0, (int)TestRig.LowMemory);
        Assert.Empty(rig.Disk.InFlight);
        rig.Rig.RunLoop();
        Assert.Equal(after, rig.Fetch(0, (int)TestRig.LowMemory));
    }

    [Fact]
    public void The_end_of_the_machine_ends_a_reset_that_waits_for_a_host_that_hangs()
    {
        using var rig = new BlockRig(Variant.Default, waitsForResets: true);
        rig.Disk.Immediate = false;
        rig.Add(BlockRig.In, 0, rig.Driver.Allocate(512), 512, out _);
        rig.Driver.Kick();
        var vcpu = new Thread(() => rig.Driver.Transport.Status = 0);
        vcpu.Start();
        Assert.False(vcpu.Join(100));
        ((TestTransportMmio)rig.Driver.Transport).Registers.StopWaiting();
        vcpu.Join();
        Assert.NotEqual(0u, rig.Driver.Transport.Status);      // it is not over, only not waited for
        rig.Driver.Transport.Status = 0;                       // nor is anything waited for later
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

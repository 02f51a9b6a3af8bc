using Vmm.Devices.Virtio;
using Vmm.Devices.Virtio.Block;

namespace Vmm.Devices.Tests.Virtio;

/// <summary>Resets of devices and of single queues (virtio 1.2, sections 2.4 and 2.6.1), for every device over every transport.</summary>
public sealed class ResetTests
{
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
        byte[] rings = rig.Driver.Fetch(TestDriver.RingStart, 0x4000);
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
        Assert.Equal(rings, rig.Driver.Fetch(TestDriver.RingStart, 0x4000));
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
        byte[] rings = rig.Driver.Fetch(TestDriver.RingStart, 0x4000);
        rig.Driver.Transport.ResetQueue(0);
        Assert.True(rig.Driver.Transport.IsQueueResetting(0));
        rig.Disk.Complete(2);
        Assert.True(rig.Driver.Queues[1].TryTake(out _, out _));        // the other queue goes on
        rig.Disk.Complete(0);
        Assert.True(rig.Driver.Transport.IsQueueResetting(0));
        rig.Disk.Complete(0);
        Assert.False(rig.Driver.Transport.IsQueueResetting(0));
        Assert.Equal(rings, rig.Driver.Fetch(TestDriver.RingStart, 0x4000));
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
        byte[] after = rig.Driver.Fetch(0, (int)TestRig.LowMemory);
        Assert.Empty(rig.Disk.InFlight);
        rig.Rig.RunLoop();
        Assert.Equal(after, rig.Driver.Fetch(0, (int)TestRig.LowMemory));
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
}

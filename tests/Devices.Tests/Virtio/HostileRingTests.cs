using Vmm.Devices.Virtio;
using Vmm.Tests.Shared;

namespace Vmm.Devices.Tests.Virtio;

/// <summary>What a hostile guest can do to a ring, against every device, ring format and transport.</summary>
public sealed partial class HostileRingTests
{
    private const ulong Table = 0x1e_0000;

    [Theory]
    [MemberData(nameof(TestTarget.All), MemberType = typeof(TestTarget))]
    public void An_honest_request_is_served(Variant variant, TargetKind kind)
    {
        using var target = new TestTarget(kind, variant);
        for (int i = 0; i < 200; i++)
        {
            target.AssertServes();
        }

        Assert.Empty(target.Rig.Log);
    }

    [Theory]
    [MemberData(nameof(TestTarget.All), MemberType = typeof(TestTarget))]
    public void A_descriptor_loop_is_refused(Variant variant, TargetKind kind)
    {
        using var target = new TestTarget(kind, variant);
        if (target.Ring is TestDriverSplit split)
        {
            split.Descriptor(0, 0x1000, 1, TestDriverSplit.Next, 1);
            split.Descriptor(1, 0x1000, 1, TestDriverSplit.Next, 0);
            split.Offer(0);
        }
        else
        {
            var packed = (TestDriverPacked)target.Ring;
            for (uint i = 0; i < packed.Size; i++)
            {
                packed.Raw(0x1000, 1, 0, TestDriverPacked.Next);
            }
        }

        target.Poke();
        target.AssertNeedsReset("loops");
    }

    [Theory]
    [MemberData(nameof(TestTarget.All), MemberType = typeof(TestTarget))]
    public void A_chain_as_long_as_the_queue_passes(Variant variant, TargetKind kind)
    {
        using var target = new TestTarget(kind, variant);
        target.Ring.Add(Stretched(target, (int)target.Ring.Size));
        target.Poke();
        Assert.True(target.Ring.TryTake(out _, out _));
        target.Ring.AddIndirect(Table, Stretched(target, (int)target.Ring.Size));
        target.Poke();
        Assert.True(target.Ring.TryTake(out _, out _));
        target.AssertServes();
        Assert.Empty(target.Rig.Log);
    }

    [Theory]
    [MemberData(nameof(TestTarget.All), MemberType = typeof(TestTarget))]
    public void A_chain_one_longer_than_the_queue_is_refused(Variant variant, TargetKind kind)
    {
        using var target = new TestTarget(kind, variant);
        target.Ring.AddIndirect(Table, Stretched(target, (int)target.Ring.Size + 1));
        target.Poke();
        target.AssertNeedsReset("longer than the queue");
    }

    [Theory]
    [MemberData(nameof(TestTarget.AllSplit), MemberType = typeof(TestTarget))]
    public void A_next_beyond_the_table_is_refused(TransportKind transport, TargetKind kind)
    {
        foreach (ushort next in new ushort[] { 64, 65, 0x7fff, 0xffff })
        {
            using var target = new TestTarget(kind, new Variant(transport, RingKind.Split));
            target.Driver.Split(target.Queue).Descriptor(0, 0x1000, 1, TestDriverSplit.Next, next);
            target.Driver.Split(target.Queue).Offer(0);
            target.Poke();
            target.AssertNeedsReset("next lies beyond");
        }
    }

    [Theory]
    [MemberData(nameof(TestTarget.AllSplit), MemberType = typeof(TestTarget))]
    public void A_head_beyond_the_table_is_refused(TransportKind transport, TargetKind kind)
    {
        foreach (ushort head in new ushort[] { 64, 0x8000, 0xffff })
        {
            using var target = new TestTarget(kind, new Variant(transport, RingKind.Split));
            target.Driver.Split(target.Queue).Offer(head);
            target.Poke();
            target.AssertNeedsReset("avail entry");
        }
    }

    [Theory]
    [MemberData(nameof(TestTarget.AllSplit), MemberType = typeof(TestTarget))]
    public void An_avail_index_that_jumps_is_refused(TransportKind transport, TargetKind kind)
    {
        foreach (ushort index in new ushort[] { 65, 0x8000, 0xffff })
        {
            using var target = new TestTarget(kind, new Variant(transport, RingKind.Split));
            target.Driver.Split(target.Queue).SetAvailIdx(index);
            target.Poke();
            target.AssertNeedsReset("avail.idx");
        }
    }

    [Theory]
    [MemberData(nameof(TestTarget.All), MemberType = typeof(TestTarget))]
    public void An_address_that_is_no_memory_is_refused(Variant variant, TargetKind kind)
    {
        (ulong Address, uint Length)[] wrong =
        [
            (TestRig.LowMemory, 1),                             // the hole, where BARs are
            (0xd000_0000, 0x1000),                              // a BAR
            (TestRig.HighStart - 1, 2),
            (TestRig.HighStart + TestRig.HighMemory, 1),        // behind everything
            (TestRig.LowMemory - 1, 2),                         // across the end
            (TestRig.HighStart + TestRig.HighMemory - 16, 17),
            (0x1000, uint.MaxValue),
            (ulong.MaxValue, 1),
            (ulong.MaxValue, uint.MaxValue),                    // past 2^64
            (ulong.MaxValue - 15, 16),
            (0x8000_0000_0000_0000, 16),
        ];
        foreach ((ulong address, uint length) in wrong)
        {
            using var target = new TestTarget(kind, variant);
            Buffer[] request = target.Valid();
            target.Ring.Add([.. request, new Buffer(address, length, request[^1].Writable)]);
            target.Poke();
            target.AssertNeedsReset("outside the guest's memory");
        }
    }

    [Theory]
    [MemberData(nameof(TestTarget.All), MemberType = typeof(TestTarget))]
    public void Buffers_on_the_rings_themselves_hurt_only_the_guest(Variant variant, TargetKind kind)
    {
        using var target = new TestTarget(kind, variant);
        foreach (ulong area in new[] { target.Ring.DescriptorArea, target.Ring.DriverArea, target.Ring.DeviceArea })
        {
            foreach (bool writable in new[] { false, true })
            {
                target.Ring.Add(new Buffer(area, 64, writable));
                target.Poke();
                target.Driver.Start();
                target.Rig.Log.Clear();
            }
        }

        target.AssertServes();
    }

    [Theory]
    [MemberData(nameof(TestTarget.All), MemberType = typeof(TestTarget))]
    public void Descriptors_of_length_zero_contribute_nothing(Variant variant, TargetKind kind)
    {
        using var target = new TestTarget(kind, variant);
        Buffer[] request = target.Valid();
        target.Ring.Add([new Buffer(ulong.MaxValue, 0, request[0].Writable), .. request, new Buffer(0x1000, 0, request[^1].Writable)]);
        target.Poke();
        Assert.True(target.Ring.TryTake(out _, out _));
        Assert.Empty(target.Rig.Log);
        target.AssertServes();
    }

    [Theory]
    [MemberData(nameof(TestTarget.All), MemberType = typeof(TestTarget))]
    public void A_request_of_nothing_does_no_harm(Variant variant, TargetKind kind)
    {
        using var target = new TestTarget(kind, variant);
        target.Ring.Add(new Buffer(0, 0, false));
        target.Poke();
        target.Driver.Start();
        target.AssertServes();
    }

    [Theory]
    [MemberData(nameof(Variant.All), MemberType = typeof(Variant))]
    public void More_than_4_GiB_in_one_chain_are_refused(Variant variant)
    {
        using var test = new TestMemory((4 << 20) + 4096);
        using var ring = new BareQueue(test.Memory, variant.Ring, 1024);
        var buffers = new Buffer[1024];
        Array.Fill(buffers, new Buffer(0, 4 << 20, true));
        var vectors = new IoVector[1024];
        ring.Driver.AddIndirect(Table, buffers);
        Assert.True(ring.Device.TryPop(vectors, out DescriptorChain chain));
        Assert.Equal(1UL << 32, chain.WritableBytes);
        ring.Device.Complete(chain, 0);
        buffers[7] = new Buffer(0, (4 << 20) + 1, true);
        ring.Driver.AddIndirect(Table, buffers);
        Assert.False(ring.Device.TryPop(vectors, out _));
        Assert.Contains("2^32", Assert.Single(ring.Faults), StringComparison.Ordinal);
    }

    [Theory]
    [MemberData(nameof(TestTarget.All), MemberType = typeof(TestTarget))]
    public void A_readable_descriptor_behind_a_writable_one_is_refused(Variant variant, TargetKind kind)
    {
        using var target = new TestTarget(kind, variant);
        target.Ring.Add(new Buffer(0x1000, 16, false), new Buffer(0x2000, 16, true), new Buffer(0x3000, 16, false));
        target.Poke();
        target.AssertNeedsReset("follows a device-writable");
    }

    [Theory]
    [MemberData(nameof(TestTarget.AllSplit), MemberType = typeof(TestTarget))]
    public void One_head_offered_for_ever_keeps_no_more_than_a_queue_in_flight(TransportKind transport, TargetKind kind)
    {
        using var target = new TestTarget(kind, new Variant(transport, RingKind.Split));
        if (target.Disk is FakeDisk disk)
        {
            disk.Immediate = false;
        }

        var split = (TestDriverSplit)target.Ring;
        Buffer[] request = target.Valid();
        int head = split.Add(request);
        for (int i = 0; i < 200; i++)
        {
            target.Poke();
            split.Offer((ushort)head);
        }

        if (target.Disk is not null)
        {
            Assert.True(target.Disk.InFlight.Count <= 64);
            target.Disk.CompleteAll();
            target.Disk.Immediate = true;
            target.Rig.Log.Clear();
        }

        target.Driver.Start();
        target.AssertServes();
    }

    [Theory]
    [MemberData(nameof(Variant.All), MemberType = typeof(Variant))]
    public void More_buffers_in_flight_than_descriptors_are_refused(Variant variant)
    {
        using var test = new TestMemory(2 << 20);
        using var ring = new BareQueue(test.Memory, variant.Ring, 16);
        var vectors = new IoVector[16];
        for (int i = 0; i < 16; i++)
        {
            ring.Driver.Add(new Buffer(0x1000, 1, false));
            Assert.True(ring.Device.TryPop(vectors, out _));
        }

        Raw(ring.Driver, 0x1000, 1, 0);
        Assert.False(ring.Device.TryPop(vectors, out _));
        Assert.Equal(16, ring.Device.Outstanding);
        Assert.Contains("in flight", Assert.Single(ring.Faults), StringComparison.Ordinal);
    }

    [Theory]
    [MemberData(nameof(TestTarget.All), MemberType = typeof(TestTarget))]
    public void A_flood_of_faults_is_one_line_for_each_reset_and_the_log_limits_those(Variant variant, TargetKind kind)
    {
        using var target = new TestTarget(kind, variant);
        var time = new ManualTime();
        var inner = new TestRig();
        var limited = new RateLimitedLog(inner, time);
        for (int i = 0; i < 50; i++)
        {
            target.Ring.Add(new Buffer(TestRig.LowMemory, 1, false));
            target.Poke();
            limited.Warn("x", Assert.Single(target.Rig.Log));
            target.Rig.Log.Clear();
            target.Driver.Start();
        }

        Assert.Equal(10, inner.Log.Count);
        time.Advance(TimeSpan.FromSeconds(1));
        limited.Warn("x", "again");
        Assert.Contains("40", inner.Log[^1], StringComparison.Ordinal);
        inner.Dispose();
    }

    /// <summary>A valid request made of so many descriptors.</summary>
    private static Buffer[] Stretched(TestTarget target, int count)
    {
        Buffer[] request = target.Valid();
        var stretched = new List<Buffer>();
        Buffer first = request[0];
        int pieces = count - request.Length + 1;
        if (first.Length < pieces)
        {
            // Not bytes enough: descriptors of nothing make up for it.
            for (int i = 1; i < pieces; i++)
            {
                stretched.Add(new Buffer(first.Address, 0, first.Writable));
            }

            stretched.Add(first);
        }
        else
        {
            for (int i = 0; i < pieces - 1; i++)
            {
                stretched.Add(new Buffer(first.Address + (ulong)i, 1, first.Writable));
            }

            stretched.Add(new Buffer(first.Address + (ulong)pieces - 1, first.Length - (uint)pieces + 1, first.Writable));
        }

        return [.. stretched, .. request[1..]];
    }

    private static void Raw(TestDriverQueue ring, ulong address, uint length, ushort flags)
    {
        if (ring is TestDriverSplit split)
        {
            split.Descriptor(0, address, length, flags, 1);
            split.Offer(0);
        }
        else
        {
            ((TestDriverPacked)ring).Raw(address, length, 0, flags);
        }
    }
}

using Vmm.Devices.Virtio;
using Vmm.Tests.Shared;

namespace Vmm.Devices.Tests.Virtio;

public sealed partial class HostileRingTests
{
    [Theory]
    [MemberData(nameof(TestTarget.AllSplit), MemberType = typeof(TestTarget))]
    public void A_loop_in_an_indirect_table_is_refused(TransportKind transport, TargetKind kind)
    {
        using var target = new TestTarget(kind, new Variant(transport, RingKind.Split));
        var split = (TestDriverSplit)target.Ring;
        split.WriteDescriptor(Table, 0x1000, 1, TestDriverSplit.Next, 1);
        split.WriteDescriptor(Table + 16, 0x1000, 1, TestDriverSplit.Next, 0);
        split.Descriptor(0, Table, 32, TestDriverSplit.Indirect, 0);
        split.Offer(0);
        target.Poke();
        target.AssertNeedsReset("loops");
    }

    [Theory]
    [MemberData(nameof(TestTarget.AllSplit), MemberType = typeof(TestTarget))]
    public void A_next_beyond_an_indirect_table_is_refused(TransportKind transport, TargetKind kind)
    {
        using var target = new TestTarget(kind, new Variant(transport, RingKind.Split));
        var split = (TestDriverSplit)target.Ring;
        split.WriteDescriptor(Table, 0x1000, 1, TestDriverSplit.Next, 1);
        split.Descriptor(0, Table, 16, TestDriverSplit.Indirect, 0);
        split.Offer(0);
        target.Poke();
        target.AssertNeedsReset("next lies beyond");
    }

    [Theory]
    [MemberData(nameof(TestTarget.All), MemberType = typeof(TestTarget))]
    public void Indirect_tables_are_checked(Variant variant, TargetKind kind)
    {
        const ushort Indirect = TestDriverSplit.Indirect;
        (ulong Address, uint Length, ushort Flags, string Fault)[] wrong =
        [
            (Table, 0, Indirect, "zero or no multiple"),
            (Table, 8, Indirect, "zero or no multiple"),
            (Table, 17, Indirect, "zero or no multiple"),
            (Table, 32, Indirect | TestDriverSplit.Next, "has a next"),
            (TestRig.LowMemory, 16, Indirect, "table lies outside"),
            (TestRig.LowMemory - 16, 32, Indirect, "table lies outside"),
            (ulong.MaxValue - 15, 16, Indirect, "table lies outside"),
            (Table, 0xffff_fff0, Indirect, "table lies outside"),
        ];
        foreach ((ulong address, uint length, ushort flags, string fault) in wrong)
        {
            using var target = new TestTarget(kind, variant);
            Raw(target.Ring, address, length, flags);
            target.Poke();
            target.AssertNeedsReset(fault);
        }
    }

    [Theory]
    [MemberData(nameof(TestTarget.All), MemberType = typeof(TestTarget))]
    public void A_nested_indirect_table_is_refused(Variant variant, TargetKind kind)
    {
        using var target = new TestTarget(kind, variant);
        target.Ring.Write(Table, Table + 0x1000);
        target.Ring.Write(Table + 8, 16u);
        ulong flagsAt = target.Ring is TestDriverSplit ? Table + 12 : Table + 14;
        target.Ring.Write(Table + 12, 0u);
        target.Ring.Write(flagsAt, TestDriverSplit.Indirect);
        Raw(target.Ring, Table, 16, TestDriverSplit.Indirect);
        target.Poke();
        target.AssertNeedsReset("holds an indirect");
    }

    [Theory]
    [MemberData(nameof(TestTarget.All), MemberType = typeof(TestTarget))]
    public void An_indirect_table_that_was_not_negotiated_is_refused(Variant variant, TargetKind kind)
    {
        using var target = new TestTarget(kind, variant, refuse: VirtioFeatures.IndirectDescriptors);
        target.Ring.AddIndirect(Table, target.Valid());
        target.Poke();
        target.AssertNeedsReset("without VIRTIO_F_INDIRECT_DESC");
    }

    [Theory]
    [MemberData(nameof(TestTarget.AllSplit), MemberType = typeof(TestTarget))]
    public void Normal_descriptors_may_come_before_an_indirect_one(TransportKind transport, TargetKind kind)
    {
        using var target = new TestTarget(kind, new Variant(transport, RingKind.Split));
        var split = (TestDriverSplit)target.Ring;
        Buffer[] request = target.Valid();
        Buffer last = request[^1];
        split.Descriptor(0, request[0].Address, request[0].Length, (ushort)(TestDriverSplit.Next | (request[0].Writable ? 2 : 0)), 1);
        split.WriteDescriptor(Table, last.Address, last.Length, (ushort)(last.Writable ? 2 : 0), 0);
        split.Descriptor(1, Table, 16, TestDriverSplit.Indirect, 0);
        split.Offer(0);
        target.Poke();
        Assert.True(split.TryTake(out int id, out _));
        Assert.Equal(0, id);
        Assert.Empty(target.Rig.Log);
    }
}

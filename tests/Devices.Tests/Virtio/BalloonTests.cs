using Vmm.Devices.Memory;
using Vmm.Devices.State;
using Vmm.Devices.Virtio;
using Vmm.Devices.Virtio.Balloon;

namespace Vmm.Devices.Tests.Virtio;

public sealed class BalloonTests
{
    [Theory]
    [MemberData(nameof(Variant.All), MemberType = typeof(Variant))]
    public void Pages_of_a_request_go_back_in_as_few_stretches_as_they_make(Variant variant)
    {
        using var rig = new BalloonRig(variant);
        Assert.Equal(5u, rig.Driver.Transport.DeviceId);
        const uint First = BalloonRig.FirstPage;
        rig.Rig.Memory.Write(new GuestAddress((First + 1) * 4096), 0x11u);

        // From the top down, one twice, one by itself, in descriptors cut anywhere.
        rig.Send(BalloonRig.Inflate, rig.Request([First + 3, First + 2, First + 1, First + 2, First + 9], cut: 7));
        Assert.Equal([(rig.HostAddress(First + 1), 3 * 4096), (rig.HostAddress(First + 9), 4096)], rig.Host.Taken);
        Assert.Equal(0u, rig.Rig.Memory.Read<uint>(new GuestAddress((First + 1) * 4096)));
        Assert.Equal(4u * 4096, rig.Device.Released);
        rig.Send(BalloonRig.Deflate, rig.Request([First + 1, First + 2]));
        Assert.Equal(2, rig.Host.Taken.Count);
    }

    [Theory]
    [MemberData(nameof(Variant.All), MemberType = typeof(Variant))]
    public void Pages_above_the_hole_go_back_too(Variant variant)
    {
        using var rig = new BalloonRig(variant);
        const uint Last = (uint)((TestRig.HighStart + TestRig.HighMemory) / 4096) - 1;
        const uint LowLast = (uint)(TestRig.LowMemory / 4096) - 1;
        rig.Send(BalloonRig.Inflate, rig.Request([Last, LowLast]));
        Assert.Equal([LowLast, Last], rig.Host.Taken.Select(taken => PageAt(rig, taken.Address, LowLast, Last)).Order());
    }

    [Theory]
    [MemberData(nameof(Variant.All), MemberType = typeof(Variant))]
    public void A_page_that_is_no_memory_is_refused_and_none_of_the_request_goes_back(Variant variant)
    {
        foreach (uint page in new[] { (uint)(TestRig.LowMemory / 4096), 0xd0000u, uint.MaxValue,
            (uint)((TestRig.HighStart + TestRig.HighMemory) / 4096) })
        {
            foreach (int queue in new[] { BalloonRig.Inflate, BalloonRig.Deflate })
            {
                using var rig = new BalloonRig(variant);
                rig.Driver.Queues[queue].Add(rig.Request([BalloonRig.FirstPage, page]));
                rig.Driver.Kick(queue);
                Assert.False(rig.Driver.Queues[queue].TryTake(out _, out _));
                Assert.Empty(rig.Host.Taken);
                Assert.Contains("outside the guest's memory", Assert.Single(rig.Rig.Log), StringComparison.Ordinal);
                Assert.Equal(TestDriver.Live | TestDriver.NeedsReset, rig.Driver.Transport.Status);
            }
        }
    }

    [Theory]
    [MemberData(nameof(Variant.All), MemberType = typeof(Variant))]
    public void More_page_numbers_than_any_driver_sends_are_refused(Variant variant)
    {
        using var rig = new BalloonRig(variant);
        uint[] pages = new uint[VirtioBalloon.MostPages];
        Array.Fill(pages, BalloonRig.FirstPage);
        Buffer[] request = rig.Request(pages);
        rig.Send(BalloonRig.Inflate, request);
        Assert.Single(rig.Host.Taken);
        rig.Driver.Queues[BalloonRig.Inflate].Add(request[0] with { Length = request[0].Length + 4 });
        rig.Driver.Kick(BalloonRig.Inflate);
        Assert.Contains("more than 16384", Assert.Single(rig.Rig.Log), StringComparison.Ordinal);
    }

    [Theory]
    [MemberData(nameof(Variant.All), MemberType = typeof(Variant))]
    public void Reported_memory_goes_back_page_by_whole_page(Variant variant)
    {
        using var rig = new BalloonRig(variant);
        const ulong At = BalloonRig.FirstPage * 4096UL;
        rig.Rig.Memory.Write(new GuestAddress(At + 4095), (byte)1);
        rig.Send(BalloonRig.Report, new Buffer(At, 8192, true), new Buffer(At + 0x4000 - 1, 4096 + 2, true), new Buffer(At + 0x8001, 4096, true));
        Assert.Equal([(rig.HostAddress(BalloonRig.FirstPage), 8192), (rig.HostAddress(BalloonRig.FirstPage + 4), 4096)], rig.Host.Taken);
        Assert.Equal(0, rig.Rig.Memory.Read<byte>(new GuestAddress(At + 4095)));
    }

    /// <summary>Section 5.5.2 gives each queue a fixed number; Linux and QEMU number only those that were negotiated.</summary>
    [Theory]
    [InlineData(0, 3)]
    [InlineData(0, 4)]
    [InlineData(BalloonRig.StatisticsFeature, 2)]
    public void The_reporting_queue_is_found_where_drivers_look_for_it(ulong refuse, int queue)
    {
        using var rig = new BalloonRig(Variant.Default, refuse);
        rig.Send(queue, new Buffer(BalloonRig.FirstPage * 4096UL, 4096, true));
        Assert.Single(rig.Host.Taken);
    }

    [Theory]
    [MemberData(nameof(Variant.All), MemberType = typeof(Variant))]
    public void A_report_that_was_not_negotiated_is_not_served(Variant variant)
    {
        using var rig = new BalloonRig(variant, refuse: BalloonRig.ReportFeature);
        rig.Driver.Queues[BalloonRig.Report].Add(new Buffer(BalloonRig.FirstPage * 4096UL, 4096, true));
        rig.Driver.Kick(BalloonRig.Report);
        Assert.Empty(rig.Host.Taken);
        Assert.False(rig.Driver.Queues[BalloonRig.Report].TryTake(out _, out _));
    }

    [Theory]
    [MemberData(nameof(Variant.All), MemberType = typeof(Variant))]
    public void Reported_pages_that_are_poisoned_keep_their_poison(Variant variant)
    {
        using var rig = new BalloonRig(variant);
        rig.Driver.Transport.WriteConfig(12, [0xaa, 0xaa, 0xaa, 0xaa]);
        rig.Send(BalloonRig.Report, new Buffer(BalloonRig.FirstPage * 4096UL, 4096, true));
        Assert.Empty(rig.Host.Taken);

        // Pages in the balloon are the driver's to poison when it takes them out.
        rig.Send(BalloonRig.Inflate, rig.Request([BalloonRig.FirstPage]));
        Assert.Single(rig.Host.Taken);
    }

    [Theory]
    [MemberData(nameof(Variant.All), MemberType = typeof(Variant))]
    public void The_poison_value_is_the_drivers_only_if_it_took_the_feature(Variant variant)
    {
        using var rig = new BalloonRig(variant, refuse: BalloonRig.PoisonFeature);
        rig.Driver.Transport.WriteConfig(12, [0xaa, 0xaa, 0xaa, 0xaa]);
        Assert.Equal(0u, rig.Driver.Transport.ReadConfig32(12));
        rig.Send(BalloonRig.Report, new Buffer(BalloonRig.FirstPage * 4096UL, 4096, true));
        Assert.Single(rig.Host.Taken);
    }

    [Theory]
    [MemberData(nameof(Variant.All), MemberType = typeof(Variant))]
    public void A_new_target_is_reported_by_a_configuration_change(Variant variant)
    {
        using var rig = new BalloonRig(variant);
        uint generation = rig.Driver.Transport.ConfigGeneration;
        rig.Device.Target = 0x10_0000;
        Assert.Equal(2u, rig.Driver.Transport.TakeInterrupts() & 2);
        Assert.NotEqual(generation, rig.Driver.Transport.ConfigGeneration);
        Assert.Equal(0x100u, rig.Driver.Transport.ReadConfig32(0));
        rig.Device.Target = 0x10_0000;
        Assert.Equal(0u, rig.Driver.Transport.TakeInterrupts() & 2);

        rig.Driver.Transport.WriteConfig(0, [1, 0, 0, 0]);
        rig.Driver.Transport.WriteConfig(8, [1, 0, 0, 0]);
        rig.Driver.Transport.WriteConfig(4, [0x80, 0, 0, 0]);
        Assert.Equal(0x10_0000u, rig.Device.Target);
        Assert.Equal(0u, rig.Driver.Transport.ReadConfig32(8));
        Assert.Equal(0x8_0000u, rig.Device.Actual);
        rig.Driver.Start();
        Assert.Equal(0u, rig.Device.Actual);
        Assert.Equal(0x10_0000u, rig.Device.Target);
        Assert.Throws<ArgumentOutOfRangeException>(() => rig.Device.Target = rig.Rig.Memory.Size + 4096);
    }

    [Theory]
    [MemberData(nameof(Variant.All), MemberType = typeof(Variant))]
    public void A_host_that_takes_nothing_is_no_fault_of_the_guest(Variant variant)
    {
        using var rig = new BalloonRig(variant);
        rig.Host.Refuses = true;
        rig.Send(BalloonRig.Inflate, rig.Request([BalloonRig.FirstPage]));
        rig.Send(BalloonRig.Report, new Buffer(BalloonRig.FirstPage * 4096UL, 4096, true));
        Assert.Equal(2, rig.Device.Failures);
        Assert.Equal(0u, rig.Device.Released);
        Assert.Empty(rig.Rig.Log);
    }

    [Fact]
    public void What_does_not_fit_this_machine_is_refused_by_name()
    {
        using var rig = new BalloonRig(Variant.Default);
        string state = System.Text.Encoding.UTF8.GetString(StateWriter.Save(rig.Driver.Transport.State));
        Assert.Contains("\"target\":0", state, StringComparison.Ordinal);
        byte[] wrong = System.Text.Encoding.UTF8.GetBytes(
            state.Replace("\"target\":0", "\"target\":529", StringComparison.Ordinal));     // memory has 528 pages
        using var other = new BalloonRig(Variant.Default, start: false);
        Assert.EndsWith("device.target", Assert.Throws<StateException>(
            () => StateReader.Load(wrong, "m", other.Driver.Transport.State)).Field, StringComparison.Ordinal);
    }

    private static uint PageAt(BalloonRig rig, nint address, params ReadOnlySpan<uint> pages)
    {
        foreach (uint page in pages)
        {
            if (rig.HostAddress(page) == address)
            {
                return page;
            }
        }

        return 0;
    }
}

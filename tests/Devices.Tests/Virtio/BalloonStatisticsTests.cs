using Vmm.Devices.State;
using Vmm.Devices.Virtio;
using Vmm.Devices.Virtio.Balloon;

namespace Vmm.Devices.Tests.Virtio;

public sealed class BalloonStatisticsTests
{
    [Theory]
    [MemberData(nameof(Variant.All), MemberType = typeof(Variant))]
    public void The_guest_answers_when_it_is_asked(Variant variant)
    {
        using var rig = new BalloonRig(variant);
        int came = 0;
        rig.Device.StatisticsCame += () => came++;
        Assert.Null(rig.Device.Statistics);
        rig.AddStatistics(rig.Entries(new Entry(4, 4096), new Entry(5, 8192), new Entry(99, 1), new Entry(0, ulong.MaxValue)));
        Assert.False(rig.Driver.Queues[2].TryTake(out _, out _), "kept until somebody asks");
        rig.Time.Advance(TimeSpan.FromSeconds(3));
        BalloonStatistics first = rig.Device.Statistics!;
        Assert.Equal((4096UL, 8192UL, ulong.MaxValue, null), (first.Free, first.Total, first.SwappedIn, first.SwappedOut));
        Assert.Equal(TimeSpan.FromSeconds(3), first.Age);
        Assert.Equal(0, came);

        Assert.True(rig.Device.AskForStatistics());
        Assert.True(rig.Device.AskForStatistics());     // again before there is an answer
        Assert.True(rig.Driver.Queues[2].TryTake(out _, out uint length));
        Assert.Equal(0u, length);
        Assert.Equal(1u, rig.Driver.Transport.TakeInterrupts() & 1);
        rig.AddStatistics(rig.Entries(
            new Entry(7, 1), new Entry(6, 2), new Entry(3, 3), new Entry(2, 4), new Entry(1, 5)));
        Assert.Equal(1, came);
        BalloonStatistics second = rig.Device.Statistics!;
        Assert.Equal((1UL, 2UL, 3UL, 4UL, 5UL, null, TimeSpan.Zero),
            (second.Caches, second.Available, second.MinorFaults, second.MajorFaults, second.SwappedOut, second.Free, second.Age));
        Assert.False(rig.Driver.Queues[2].TryTake(out _, out _));
    }

    [Theory]
    [MemberData(nameof(Variant.All), MemberType = typeof(Variant))]
    public void A_request_before_the_guest_is_ready_is_answered_later(Variant variant)
    {
        using var rig = new BalloonRig(variant, start: false);
        Assert.False(rig.Device.AskForStatistics());
        rig.Driver.Start();
        int came = 0;
        rig.Device.StatisticsCame += () => came++;
        Assert.True(rig.Device.AskForStatistics());
        rig.AddStatistics(rig.Entries(new Entry(4, 1)));
        Assert.Equal(0, came);
        Assert.True(rig.Driver.Queues[2].TryTake(out _, out _));
        rig.AddStatistics(rig.Entries(new Entry(4, 2)));
        Assert.Equal(1, came);
        Assert.Equal(2UL, rig.Device.Statistics!.Free);
    }

    [Theory]
    [InlineData(0)]
    [InlineData(9)]
    [InlineData(25)]
    public void Statistics_cut_short_are_refused(int bytes)
    {
        using var rig = new BalloonRig(Variant.Default);
        rig.AddStatistics(rig.Entries(new Entry(4, 1), new Entry(5, 2), new Entry(6, 3)) with { Length = (uint)bytes });
        Assert.Contains("no whole number of entries", Assert.Single(rig.Rig.Log), StringComparison.Ordinal);
        Assert.Null(rig.Device.Statistics);
        Assert.False(rig.Device.AskForStatistics());
    }

    [Fact]
    public void A_second_buffer_is_refused_and_a_reset_heals_it()
    {
        using var rig = new BalloonRig(Variant.Default);
        Buffer entries = rig.Entries(new Entry(4, 1));
        rig.AddStatistics(entries);
        rig.AddStatistics(entries);
        Assert.Contains("a second buffer", Assert.Single(rig.Rig.Log), StringComparison.Ordinal);
        rig.Driver.Start();
        rig.AddStatistics(entries);
        Assert.Single(rig.Rig.Log);
        Assert.True(rig.Device.AskForStatistics());
    }

    [Fact]
    public void More_entries_than_there_are_tags_do_no_harm()
    {
        using var rig = new BalloonRig(Variant.Default);
        var many = new Entry[6000];
        Array.Fill(many, new Entry(4, 7));
        rig.AddStatistics(rig.Entries(many));
        Assert.Empty(rig.Rig.Log);
        Assert.Equal(7UL, rig.Device.Statistics!.Free);
    }

    [Theory]
    [MemberData(nameof(Variant.All), MemberType = typeof(Variant))]
    public void A_buffer_that_waits_is_saved_as_not_yet_taken(Variant variant)
    {
        using var rig = new BalloonRig(variant);
        rig.AddStatistics(rig.Entries(new Entry(4, 11)));
        byte[] state = StateWriter.Save(rig.Driver.Transport.State);
        using var other = new BalloonRig(variant, start: false);
        other.Rig.Test.CopyFrom(rig.Rig.Test);
        Assert.True(rig.Device.AskForStatistics(), "it goes on");
        Assert.True(rig.Driver.Queues[2].TryTake(out _, out _));
        StateReader.Load(state, "m", other.Driver.Transport.State);
        other.Rig.RunLoop();
        Assert.Equal(11UL, other.Device.Statistics!.Free);
        Assert.True(other.Device.AskForStatistics());
    }
}

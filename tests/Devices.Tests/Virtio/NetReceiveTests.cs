using System.Buffers.Binary;
using Vmm.Devices.Memory;
using Vmm.Devices.Virtio;
using Vmm.Devices.Virtio.Net;

namespace Vmm.Devices.Tests.Virtio;

/// <summary>Frames for the guest (virtio 1.2, section 5.1.6.4).</summary>
public sealed class NetReceiveTests
{
    private const ulong MrgRxbuf = 1 << 15;

    [Theory]
    [MemberData(nameof(Variant.All), MemberType = typeof(Variant))]
    public void A_frame_is_spread_over_merged_buffers(Variant variant)
    {
        using var rig = new NetRig(variant);
        ulong[] buffers = rig.Offer(20, 1000);
        byte[] frame = NetRig.Frame(3500);
        rig.Backend.Inject(frame);
        rig.Backend.Inject(NetRig.Frame(60, 2));
        rig.Driver.Kick();
        BinaryPrimitives.WriteUInt16LittleEndian(frame.AsSpan(10), 4);
        var got = new List<byte>();
        for (int i = 0; i < 4; i++)
        {
            Assert.True(rig.Receive.TryTake(out _, out uint length));
            Assert.Equal(i < 3 ? 1000u : 512u, length);
            got.AddRange(rig.Driver.Fetch(buffers[i], (int)length));
        }

        Assert.Equal(frame, got);
        Assert.True(rig.Receive.TryTake(out _, out uint second));
        Assert.Equal(72u, second);
        Assert.Equal(1, rig.Driver.Fetch(buffers[4], 72)[10]);
        Assert.False(rig.Receive.TryTake(out _, out _));
        Assert.Equal(0, rig.Card.ReceiveDropped);
    }

    [Theory]
    [MemberData(nameof(Variant.All), MemberType = typeof(Variant))]
    public void Without_merging_a_frame_has_one_buffer_or_is_dropped(Variant variant)
    {
        using var rig = new NetRig(variant, refuse: MrgRxbuf);
        ulong[] buffers = rig.Offer(3, 1000);
        rig.Backend.Inject(NetRig.Frame(3500));
        rig.Backend.Inject(NetRig.Frame(988));
        rig.Backend.Inject(NetRig.Frame(989));
        rig.Backend.Inject(NetRig.Frame(60));
        rig.Driver.Kick();
        Assert.True(rig.Receive.TryTake(out _, out uint length));
        Assert.Equal(1000u, length);
        Assert.Equal(1, rig.Driver.Fetch(buffers[0], 12)[10]);
        Assert.True(rig.Receive.TryTake(out _, out length));
        Assert.Equal(72u, length);
        Assert.False(rig.Receive.TryTake(out _, out _));
        Assert.Equal(2, rig.Card.ReceiveDropped);
    }

    [Theory]
    [MemberData(nameof(Variant.All), MemberType = typeof(Variant))]
    public void The_longest_frame_arrives_and_what_does_not_fit_is_dropped(Variant variant)
    {
        using var rig = new NetRig(variant, offloads: NetRig.AllOffloads);
        rig.Offer(50, 1526);
        rig.Backend.Inject(NetRig.Frame(65550));
        rig.Driver.Kick();
        uint total = 0;
        int count = 0;
        while (rig.Receive.TryTake(out _, out uint length))
        {
            total += length;
            count++;
        }

        Assert.Equal(65562u, total);
        Assert.Equal(43, count);
        rig.Backend.Inject(NetRig.Frame(65550));        // seven buffers are left
        rig.Backend.Inject(NetRig.Frame(1000));
        rig.Rig.RunLoop();
        Assert.Equal(1, rig.Card.ReceiveDropped);
        Assert.True(rig.Receive.TryTake(out _, out uint small));
        Assert.Equal(1012u, small);
    }

    [Theory]
    [MemberData(nameof(Variant.All), MemberType = typeof(Variant))]
    public void A_guest_without_segmentation_gets_jumbo_frames_at_most(Variant variant)
    {
        using var rig = new NetRig(variant);
        rig.Offer(50, 1526);
        rig.Backend.Inject(NetRig.Frame(9018));
        rig.Backend.Inject(NetRig.Frame(65550));
        rig.Driver.Kick();
        int count = 0;
        while (rig.Receive.TryTake(out _, out _))
        {
            count++;
        }

        Assert.Equal(6, count);
        Assert.Equal(1, rig.Card.ReceiveDropped);
    }

    [Theory]
    [MemberData(nameof(Variant.All), MemberType = typeof(Variant))]
    public void A_receive_buffer_shorter_than_the_header_is_refused(Variant variant)
    {
        using var rig = new NetRig(variant);
        rig.Receive.Add(new Buffer(rig.Driver.Allocate(16), 11, true));
        rig.Backend.Inject(NetRig.Frame(60));
        rig.Driver.Kick();
        Assert.Contains("shorter than the header", Assert.Single(rig.Rig.Log), StringComparison.Ordinal);
        Assert.False(rig.Backend.Wanted[0]);
    }

    [Theory]
    [MemberData(nameof(Variant.All), MemberType = typeof(Variant))]
    public void An_ingress_flood_takes_bounded_turns_and_stops_without_buffers(Variant variant)
    {
        using var rig = new NetRig(variant);
        rig.Backend.Flood = NetRig.Frame(60);
        Assert.InRange(rig.Rig.RunLoop(10), 0, 1);      // no buffers: not wanted
        Assert.Equal(0, rig.Rig.RunLoop(10));
        rig.Offer(256, 256);
        rig.Driver.Transport.Notify(0);
        Assert.Equal(1, rig.Rig.RunLoop(turns: 1));
        Assert.Equal(128, rig.Backend.Received);        // a turn is bounded, so others have theirs
        Assert.True(rig.Rig.RunLoop(100) < 100);        // and it ends with the buffers
        Assert.Equal(256, rig.Backend.Received);
        Assert.False(rig.Backend.Wanted[0]);
        int taken = 0;
        while (rig.Receive.TryTake(out _, out _))
        {
            taken++;
        }

        Assert.Equal(256, taken);
        rig.Offer(1, 256);
        rig.Driver.Kick();
        Assert.Equal(257, rig.Backend.Received);
    }

    [Theory]
    [MemberData(nameof(Variant.All), MemberType = typeof(Variant))]
    public void A_backend_that_returns_wrong_lengths_does_no_harm(Variant variant)
    {
        using var rig = new NetRig(variant);
        rig.Offer(2, 256);
        foreach (int claim in new[] { 1, 11, 513, int.MaxValue, -5, 0 })
        {
            rig.Backend.Claim = claim;
            rig.Driver.Transport.Notify(0);
            rig.Rig.RunLoop(3);
            Assert.False(rig.Receive.TryTake(out _, out _));
        }
    }
}

using System.Buffers.Binary;
using Vmm.Devices.Memory;
using Vmm.Devices.Virtio;
using Vmm.Devices.Virtio.Net;

namespace Vmm.Devices.Tests.Virtio;

public sealed class NetTests
{
    [Theory]
    [MemberData(nameof(Variant.All), MemberType = typeof(Variant))]
    public void The_configuration_space_describes_the_card(Variant variant)
    {
        using var rig = new NetRig(variant, pairs: 2, options: new NetOptions { Mac = NetRig.Mac, Mtu = 1400 });
        var config = new byte[12];
        rig.Driver.Transport.ReadConfig(0, config);
        Assert.Equal([.. NetRig.Mac, 1, 0, 2, 0, 0x78, 0x05], config);
        Assert.Equal(1u, rig.Driver.Transport.DeviceId);
        Assert.Equal(5, rig.Driver.Queues.Length);
    }

    [Theory]
    [MemberData(nameof(Variant.All), MemberType = typeof(Variant))]
    public void The_link_goes_down_with_an_interrupt_and_a_new_generation(Variant variant)
    {
        using var rig = new NetRig(variant);
        uint generation = rig.Driver.Transport.ConfigGeneration;
        rig.Driver.Transport.TakeInterrupts();
        rig.Card.SetLink(true);
        Assert.Equal(0u, rig.Driver.Transport.TakeInterrupts());
        rig.Card.SetLink(false);
        Assert.Equal(2u, rig.Driver.Transport.TakeInterrupts());
        Assert.NotEqual(generation, rig.Driver.Transport.ConfigGeneration);
        Assert.Equal(0u, rig.Driver.Transport.ReadConfig32(4) >> 16);
    }

    [Theory]
    [MemberData(nameof(Variant.All), MemberType = typeof(Variant))]
    public void Frames_are_sent_wherever_their_boundaries_are(Variant variant)
    {
        using var rig = new NetRig(variant);
        byte[] frame = NetRig.Frame(1500);
        ulong at = rig.Driver.Place(frame);
        rig.Transmit.Add(new Buffer(at, (uint)frame.Length, false));
        rig.Transmit.Add(new Buffer(at, 12, false), new Buffer(at + 12, 1500, false));
        rig.Transmit.Add(new Buffer(at, 5, false), new Buffer(at + 5, 100, false), new Buffer(at + 105, 1407, false));
        rig.Driver.Kick(1);
        Assert.Equal(3, rig.Backend.Sent.Count);
        Assert.All(rig.Backend.Sent, sent => Assert.Equal(frame, sent.Frame));
        Assert.True(rig.Transmit.TryTake(out _, out _));
        Assert.Equal(0, rig.Card.SendDropped);
    }

    [Theory]
    [MemberData(nameof(Variant.All), MemberType = typeof(Variant))]
    public void A_full_backend_makes_the_queue_wait_and_not_spin(Variant variant)
    {
        using var rig = new NetRig(variant);
        rig.Backend.Room = 2;
        for (int i = 0; i < 5; i++)
        {
            byte[] frame = NetRig.Frame(60, i);
            rig.Transmit.Add(new Buffer(rig.Driver.Place(frame), (uint)frame.Length, false));
        }

        rig.Driver.Kick(1);
        Assert.Equal(2, rig.Backend.Sent.Count);
        rig.Driver.Transport.Notify(1);
        Assert.Equal(1, rig.Rig.RunLoop());
        rig.Backend.Room = int.MaxValue;
        rig.Card.SendReady(0);
        Assert.Equal(5, rig.Backend.Sent.Count);
        for (int i = 0; i < 5; i++)
        {
            Assert.Equal(NetRig.Frame(60, i), rig.Backend.Sent[i].Frame);
            Assert.True(rig.Transmit.TryTake(out _, out _));
        }
    }

    [Theory]
    [MemberData(nameof(Variant.All), MemberType = typeof(Variant))]
    public void Frames_too_short_or_too_long_are_dropped_and_given_back(Variant variant)
    {
        foreach (int length in new[] { 0, 1, 13, 65551 })
        {
            using var rig = new NetRig(variant);
            Assert.True(rig.Send(NetRig.Frame(length)));
            Assert.Empty(rig.Backend.Sent);
            Assert.Equal(1, rig.Card.SendDropped);
            Assert.True(rig.Send(NetRig.Frame(14)));
            Assert.True(rig.Send(NetRig.Frame(65550)));
            Assert.Equal(2, rig.Backend.Sent.Count);
            Assert.Empty(rig.Rig.Log);
        }
    }

    [Theory]
    [MemberData(nameof(Variant.All), MemberType = typeof(Variant))]
    public void A_frame_of_2_GiB_is_dropped(Variant variant)
    {
        using var rig = new NetRig(variant);
        var buffers = new Buffer[256];
        Array.Fill(buffers, new Buffer(0, (uint)TestRig.LowMemory, false));
        for (int i = 0; i < 4; i++)
        {
            rig.Transmit.AddIndirect(0x1e_0000, buffers);
            rig.Driver.Kick(1);
            Assert.True(rig.Transmit.TryTake(out _, out _));
        }

        Assert.Empty(rig.Backend.Sent);
        Assert.Equal(4, rig.Card.SendDropped);
    }

    [Theory]
    [MemberData(nameof(Variant.All), MemberType = typeof(Variant))]
    public void Headers_with_nonsense_are_dropped(Variant variant)
    {
        // flags, gso_type, hdr_len, gso_size, csum_start, csum_offset; with all offloads; is it sound?
        (byte Flags, byte Gso, ushort Header, ushort Size, ushort Start, ushort Offset, bool Sound)[] headers =
        [
            (0, 0, 0, 0, 0, 0, true),
            (1, 0, 0, 0, 34, 16, true),
            (1, 0, 0, 0, 98, 0, true),
            (1, 0, 0, 0, 99, 0, false),                     // the checksum lies behind the frame
            (1, 0, 0, 0, 0xffff, 0xffff, false),
            (1, 0, 0, 0, 34, 0xffff, false),
            (2, 0, 0, 0, 0, 0, true),                       // flags that are not the driver's to set are ignored
            (4, 0, 0, 0, 0, 0, true),
            (0xfe, 0, 0, 0, 0xffff, 0xffff, true),
            (0xff, 0, 0, 0, 34, 16, true),
            (0xff, 0, 0, 0, 99, 0, false),
            (1, 1, 54, 1448, 34, 16, true),
            (1, 0x81, 54, 1448, 34, 16, true),
            (1, 4, 74, 1428, 54, 16, true),
            (1, 3, 42, 1472, 34, 6, true),
            (0, 1, 54, 1448, 34, 16, false),                // segmentation without checksum
            (1, 1, 54, 0, 34, 16, false),                   // segments of nothing
            (1, 1, 101, 1448, 34, 16, true),                // hdr_len is a hint
            (1, 2, 54, 1448, 34, 16, false),
            (1, 5, 54, 1448, 34, 16, false),
            (1, 0x80, 54, 1448, 34, 16, false),
            (1, 0x7f, 54, 1448, 34, 16, false),
        ];
        foreach ((byte flags, byte gso, ushort header, ushort size, ushort start, ushort offset, bool sound) in headers)
        {
            foreach (NetOffloads offloads in new[] { NetOffloads.None, NetOffloads.Checksum, NetRig.AllOffloads })
            {
                using var rig = new NetRig(variant, offloads: offloads);
                byte[] frame = NetRig.Frame(100);
                frame[0] = flags;
                frame[1] = gso;
                BinaryPrimitives.WriteUInt16LittleEndian(frame.AsSpan(2), header);
                BinaryPrimitives.WriteUInt16LittleEndian(frame.AsSpan(4), size);
                BinaryPrimitives.WriteUInt16LittleEndian(frame.AsSpan(6), start);
                BinaryPrimitives.WriteUInt16LittleEndian(frame.AsSpan(8), offset);
                bool expected = sound && ((flags & 1) == 0 || offloads != NetOffloads.None)
                    && (gso == 0 || offloads == NetRig.AllOffloads);
                Assert.True(rig.Send(frame));
                Assert.Equal(expected ? 1 : 0, rig.Backend.Sent.Count);
                Assert.Equal(expected ? 0 : 1, rig.Card.SendDropped);
            }
        }
    }

    [Theory]
    [MemberData(nameof(Variant.All), MemberType = typeof(Variant))]
    public void Unknown_flags_and_wrong_hints_do_not_reach_the_backend(Variant variant)
    {
        // flags, gso_type, hdr_len; what the backend gets for flags and hdr_len of a frame of 100 bytes.
        (byte Flags, byte Gso, ushort Header, byte SeenFlags, ushort SeenHeader)[] headers =
        [
            (0xfe, 0, 0, 0, 0), (0xff, 0, 0, 1, 0), (0x03, 0, 42, 1, 42), (0x05, 1, 54, 1, 54),
            (1, 1, 100, 1, 100), (1, 1, 101, 1, 52), (1, 0x81, 0xffff, 1, 52), (0, 0, 101, 0, 0), (1, 0, 101, 1, 52),
        ];
        foreach ((byte flags, byte gso, ushort header, byte seenFlags, ushort seenHeader) in headers)
        {
            using var rig = new NetRig(variant, offloads: NetRig.AllOffloads);
            byte[] frame = NetRig.Frame(100);
            frame[0] = flags;
            frame[1] = gso;
            BinaryPrimitives.WriteUInt16LittleEndian(frame.AsSpan(2), header);
            BinaryPrimitives.WriteUInt16LittleEndian(frame.AsSpan(4), gso == 0 ? (ushort)0 : (ushort)1448);
            BinaryPrimitives.WriteUInt16LittleEndian(frame.AsSpan(6), 34);
            BinaryPrimitives.WriteUInt16LittleEndian(frame.AsSpan(8), 16);
            Assert.True(rig.Send(frame));
            byte[] seen = Assert.Single(rig.Backend.Sent).Frame;
            Assert.Equal(seenFlags, seen[0]);
            Assert.Equal(seenHeader, BinaryPrimitives.ReadUInt16LittleEndian(seen.AsSpan(2)));
            Assert.Equal(gso, seen[1]);
            Assert.Equal(frame[4..], seen[4..]);
            Assert.Equal(0, rig.Card.SendDropped);
        }
    }

    [Theory]
    [InlineData(1UL << 7)]                  // GUEST_TSO4 without GUEST_CSUM
    [InlineData(1UL << 11)]                 // HOST_TSO4 without CSUM
    [InlineData((1UL << 1) | (1UL << 9))]   // GUEST_ECN without TSO
    [InlineData(1UL << 22)]                 // MQ without CTRL_VQ
    public void Features_that_need_others_are_refused_without_them(ulong features)
    {
        using var rig = new NetRig(Variant.Default, pairs: 2, offloads: NetRig.AllOffloads, start: false);
        rig.Driver.Transport.Status = 3;
        Assert.Equal(features, rig.Driver.Transport.DeviceFeatures & features);
        rig.Driver.Transport.DriverFeatures = VirtioFeatures.Version1 | features;
        rig.Driver.Transport.Status = 3 | TestDriver.FeaturesOk;
        Assert.Equal(3u, rig.Driver.Transport.Status);
    }

    [Theory]
    [MemberData(nameof(Variant.All), MemberType = typeof(Variant))]
    public void Queue_pairs_are_switched_on_by_command(Variant variant)
    {
        using var rig = new NetRig(variant, pairs: 2, offloads: NetRig.AllOffloads);
        Assert.Equal((NetRig.AllOffloads, 1), rig.Backend.Configured);
        byte[] frame = NetRig.Frame(60);
        rig.Driver.Queues[3].Add(new Buffer(rig.Driver.Place(frame), 72, false));
        rig.Driver.Kick(3);
        Assert.Empty(rig.Backend.Sent);

        Assert.Equal(1, Command(rig, [4, 0, 0, 0]));
        Assert.Equal(1, Command(rig, [4, 0, 3, 0]));
        Assert.Equal(1, Command(rig, [4, 1, 2, 0]));
        Assert.Equal(1, Command(rig, [1, 0, 2, 0]));
        Assert.Equal(1, Command(rig, [4, 0, 2]));
        Assert.Equal((NetRig.AllOffloads, 1), rig.Backend.Configured);
        Assert.Equal(0, Command(rig, [4, 0, 2, 0]));
        Assert.Equal((NetRig.AllOffloads, 2), rig.Backend.Configured);
        Assert.Equal(1, Assert.Single(rig.Backend.Sent).Pair);

        ulong buffer = rig.Driver.Allocate(2048);
        rig.Driver.Queues[2].Add(new Buffer(buffer, 2048, true));
        rig.Backend.Inject(frame, pair: 1);
        rig.Driver.Kick(2);
        Assert.True(rig.Driver.Queues[2].TryTake(out _, out _));

        Assert.Equal(0, Command(rig, [4, 0, 1, 0]));
        Assert.False(rig.Backend.Wanted[1]);
        rig.Driver.Transport.Status = 0;
        Assert.Equal((NetOffloads.None, 0), rig.Backend.Configured);
    }

    [Theory]
    [MemberData(nameof(Variant.All), MemberType = typeof(Variant))]
    public void A_control_command_without_room_for_its_answer_is_refused(Variant variant)
    {
        using var rig = new NetRig(variant, pairs: 2);
        rig.Driver.Queues[4].Add(new Buffer(rig.Driver.Place([4, 0, 2, 0]), 4, false));
        rig.Driver.Kick(4);
        Assert.Contains("answer", Assert.Single(rig.Rig.Log), StringComparison.Ordinal);
    }

    [Theory]
    [MemberData(nameof(Variant.All), MemberType = typeof(Variant))]
    public void Limits_hold_in_both_directions(Variant variant)
    {
        var time = new ManualTime();
        using var rig = new NetRig(
            variant, options: new NetOptions { Mac = NetRig.Mac, SendLimit = 7200, ReceiveLimit = 7200 }, time: time);
        ulong at = rig.Driver.Place(NetRig.Frame(60));
        for (int i = 0; i < 100; i++)
        {
            rig.Transmit.Add(new Buffer(at, 72, false));
        }

        rig.Offer(200, 128);
        rig.Backend.Flood = NetRig.Frame(60);
        rig.Driver.Transport.Notify(1);
        rig.Driver.Transport.Notify(0);
        Assert.True(rig.Rig.RunLoop(100) < 100);
        Assert.Equal(10, rig.Backend.Sent.Count);
        Assert.InRange(rig.Backend.Received, 10, 11);
        for (int i = 0; i < 10; i++)
        {
            time.Advance(TimeSpan.FromMilliseconds(51));
            Assert.True(rig.Rig.RunLoop(100) < 100);
        }

        Assert.InRange(rig.Backend.Sent.Count, 58, 61);
        Assert.InRange(rig.Backend.Received, 58, 63);
    }

    [Fact]
    public void Options_that_cannot_be_are_refused_with_a_reason()
    {
        static void Refused(NetOptions options, string word) => Assert.Contains(
            word, Assert.Throws<ArgumentException>(() => new VirtioNet("net", new FakeNet(), options)).Message, StringComparison.Ordinal);

        Refused(new NetOptions { Mac = new byte[5] }, "mac");
        Refused(new NetOptions { Mac = new byte[] { 1, 0, 0, 0, 0, 0 } }, "mac");
        Refused(new NetOptions { Mac = NetRig.Mac, QueueSize = 17 }, "queue size");
        Refused(new NetOptions { Mac = NetRig.Mac, Mtu = 67 }, "mtu");
        Assert.Throws<ArgumentException>(() => new VirtioNet("net", new FakeNet(17), new NetOptions { Mac = NetRig.Mac }));
    }

    private static byte Command(NetRig rig, byte[] command)
    {
        ulong ack = rig.Driver.Place([0xee]);
        rig.Driver.Queues[4].Add(new Buffer(rig.Driver.Place(command), (uint)command.Length, false), new Buffer(ack, 1, true));
        rig.Driver.Kick(4);
        Assert.True(rig.Driver.Queues[4].TryTake(out _, out uint length));
        Assert.Equal(1u, length);
        return rig.Driver.Fetch(ack, 1)[0];
    }
}

using System.Buffers.Binary;
using Vmm.Backends.VhostUser;
using Vmm.Devices.Memory;
using Vmm.Devices.State;
using Vmm.Devices.Virtio.Vhost;
using Vmm.Host;
using Vmm.Machines;
using R = Vmm.Backends.VhostUser.VhostUserRequest;

namespace Vmm.Tests.VhostUser;

public sealed class VhostUserTests
{
    private static readonly TimeSpan Patience = TimeSpan.FromSeconds(30), Short = TimeSpan.FromMilliseconds(300);

    [Fact]
    public void The_driver_s_start_hands_memory_rings_and_eventfds_over_in_the_protocol_s_order()
    {
        using FakeBackend fake = new FakeBackend().Start();
        using VhostRig rig = RigFor(fake);
        rig.Start();
        R[] eachQueue = [R.SetVringNum, R.SetVringBase, R.SetVringAddr, R.SetVringCall, R.SetVringKick, R.SetVringEnable];
        Assert.Equal(
            [R.GetFeatures, R.GetProtocolFeatures, R.SetProtocolFeatures, R.GetQueueNum, R.SetOwner, R.SetFeatures, R.SetMemTable,
                .. eachQueue, .. eachQueue],
            fake.Asked.Select(static asked => asked.Request));

        // Version 1, indirect descriptors and bit 30, which is not the driver's; no LOG_ALL.
        Assert.Equal((1UL << 32) | (1UL << 30) | (1UL << 28), Number(fake.PayloadOf(R.SetFeatures)));
        Assert.Equal(1u | (1 << 3) | (1 << 9), Number(fake.PayloadOf(R.SetProtocolFeatures)));
        byte[] addresses = fake.PayloadOf(R.SetVringAddr);
        ulong user = Number(fake.PayloadOf(R.SetMemTable).AsSpan(24));
        Assert.Equal(1u, BinaryPrimitives.ReadUInt32LittleEndian(addresses));
        Assert.Equal(user + VhostRig.Ring(1), Number(addresses.AsSpan(8)));
        Assert.Equal(user + VhostRig.Ring(1) + 0x2000, Number(addresses.AsSpan(16)));
        Assert.Equal(user + VhostRig.Ring(1) + 0x1000, Number(addresses.AsSpan(24)));
    }

    [Fact]
    public void Kicks_go_straight_to_the_back_end_and_its_calls_interrupt_the_guest()
    {
        using FakeBackend fake = new FakeBackend().Start();
        using VhostRig rig = RigFor(fake);
        rig.Start();
        Signal(fake.DescriptorOf(R.SetVringCall, 1));
        rig.Until(() => rig.Interrupts.Count > 0);
        Assert.Equal([1], rig.Interrupts);

        rig.Kick(0).Drain();
        rig.Device.NotifyQueue(0);
        for (int turn = 0; turn < 3; turn++)
        {
            rig.Loop.Turn(0);
        }

        Assert.Equal(1u, Count(fake.DescriptorOf(R.SetVringKick, 0)));
    }

    [Fact]
    public void A_device_that_was_never_used_goes_on_with_another_program_and_one_that_was_is_refused()
    {
        using FakeBackend fake = new FakeBackend().Start(), other = new FakeBackend().Start();
        using VhostRig rig = RigFor(fake), restored = RigFor(other);
        rig.Start();
        byte[] state = StateWriter.Save(rig.Device);
        restored.Backend.Greet(queues: 2);
        StateReader.Load(state, "fs", restored.Device);
        Assert.Equal(rig.Device.Status, restored.Device.Status);
        Assert.Equal(
            fake.Asked.Select(static asked => asked.Request), other.Asked.Select(static asked => asked.Request));
        Assert.Equal(state, StateWriter.Save(restored.Device));

        rig.Memory.Write(new GuestAddress(VhostRig.Ring(1) + 0x1000 + 2), (ushort)1);       // a request was made available
        Assert.Throws<NotSupportedException>(() => StateWriter.Save(rig.Device));
    }

    [Fact]
    public void A_reset_takes_every_ring_back_and_the_next_driver_gets_them_anew()
    {
        using FakeBackend fake = new FakeBackend().Start();
        using VhostRig rig = RigFor(fake);
        rig.Start();
        rig.Device.Status = 0;
        Assert.Equal(0u, rig.Device.Status);
        Assert.Equal([R.GetVringBase, R.GetVringBase], fake.Asked[^2..].Select(static asked => asked.Request));
        rig.StartDriver();
        Assert.Equal(1, fake.Asked.Count(static asked => asked.Request == R.SetMemTable));
        Assert.Equal(4, fake.Asked.Count(static asked => asked.Request == R.SetVringKick));
        Assert.Empty(rig.Told);
    }

    [Fact]
    public void The_memory_table_has_both_sides_of_the_hole_and_one_sealed_file()
    {
        using var ram = new GuestRam(5UL << 30, shared: true);
        byte[] payload = ram.ToMemoryTable().ToPayload();
        Assert.Equal(8 + (2 * 32), payload.Length);
        Assert.Equal(2, ram.ToMemoryTable().Descriptors.Length);
        Assert.Equal(2u, BinaryPrimitives.ReadUInt32LittleEndian(payload));
        ulong low = Number(payload.AsSpan(16));
        Assert.Equal(0u, Number(payload.AsSpan(8)));
        Assert.Equal(0u, Number(payload.AsSpan(32)));
        Assert.Equal(1UL << 32, Number(payload.AsSpan(40)));
        Assert.Equal((5UL << 30) - low, Number(payload.AsSpan(48)));
        Assert.Equal(low, Number(payload.AsSpan(64)));
        Assert.Equal((ulong)ram.HostStart + low, Number(payload.AsSpan(56)));
        Assert.Equal(-1, LibC.ftruncate(ram.ToMemoryTable().Descriptors[0], 4096));
    }

    [Fact]
    public void Unanswered_requests_of_a_back_end_are_counted_and_reported_when_it_hangs()
    {
        using FakeBackend fake = new FakeBackend().Start();
        using VhostRig rig = RigFor(fake);
        rig.Start();
        Assert.Equal((0, 0), rig.Backend.Progress());
        rig.Request(1, place: 0, opcode: 15, unique: 100);
        rig.Request(1, place: 1, opcode: 15, unique: 101);
        Assert.Equal((2, 0), rig.Backend.Progress());
        rig.Use(1, head: 0);
        Assert.Equal((1, 1), rig.Backend.Progress());
        rig.Device.Status = 0;
        Assert.Equal((0, 0), rig.Backend.Progress());

        var watch = new StallWatch(TimeSpan.FromSeconds(5));
        (int Waiting, int Answered)[] looks = [(0, 0), (2, 0), (2, 0), (2, 0), (2, 0), (3, 1), (1, 2), (1, 3), (0, 4), (0, 4)];
        string[] said = [.. looks.Select(each => watch.Look(each.Waiting, each.Answered) ?? "")];
        Assert.Equal(
            ["", "", "", "it has answered nothing for 10 s, 2 of the guest's requests wait", "", "it answers again", "", "", "", ""], said);
    }

    [Fact]
    public void A_back_end_that_ends_is_reported_once_and_all_requests_end_as_I_O_errors()
    {
        using FakeBackend fake = new FakeBackend().Start();
        using VhostRig rig = RigFor(fake);
        rig.Start();

        // Three requests of which the one in the middle was answered; then one that nobody took.
        ulong first = rig.Request(1, place: 0, opcode: 15, unique: 100);
        rig.Request(1, place: 1, opcode: 15, unique: 101);
        ulong third = rig.Request(1, place: 2, opcode: 15, unique: 102);
        rig.Use(1, head: 2);
        fake.Close();
        rig.Until(() => rig.UsedIndex(1) == 3);
        Assert.Single(rig.Told);
        Assert.Contains(1, rig.Interrupts);
        AssertFailed(rig, first, 100);
        AssertFailed(rig, third, 102);

        ulong later = rig.Request(1, place: 1, opcode: 1, unique: 103);
        rig.Device.NotifyQueue(1);
        rig.Until(() => rig.UsedIndex(1) == 4);
        AssertFailed(rig, later, 103);

        // A driver that comes after that gets errors, too, and no reset hangs.
        rig.Device.Status = 0;
        Assert.Equal(0u, rig.Device.Status);
        Assert.Single(rig.Told);
    }

    [Fact]
    public void A_disk_s_size_is_what_the_program_says()
    {
        byte[] config = new byte[60];
        config[0] = 77;
        using FakeBackend fake = new FakeBackend
        {
            Queues = 1,
            Instead = (asked, right) => asked == R.GetConfig ? FakeBackend.Message((uint)asked, 5, [.. new byte[12], .. config]) : right,
        }.Start();
        using VhostRig rig = RigFor(fake);
        rig.Backend.Greet(queues: 1);
        byte[] said = new byte[60];
        rig.Backend.ReadConfig(said);
        Assert.Equal(config, said);
        Assert.Equal(60u, BinaryPrimitives.ReadUInt32LittleEndian(fake.PayloadOf(R.GetConfig).AsSpan(4)));
    }

    [Fact]
    public void A_network_card_s_address_and_link_are_this_side_s_and_the_cable_is_out_when_the_program_ends()
    {
        const ulong MacAndStatus = (1 << 5) | (1 << 16), MergedBuffers = 1 << 15, Control = 1 << 17;
        byte[] mac = [2, 1, 2, 3, 4, 5];
        using FakeBackend fake = new FakeBackend
        {
            Features = (1UL << 32) | (1UL << 30) | MergedBuffers | Control,
        }.Start();
        using var rig = new VhostRig(
            (loop, memory, tell) => new VhostUserBackend(fake.FrontEnd, loop, memory, Patience, tell),
            backend => new VhostNet("vhost-net0", mac, backend));
        rig.Start();
        Assert.Equal((1UL << 32) | (1UL << 30) | MergedBuffers, Number(fake.PayloadOf(R.SetFeatures)));
        rig.Device.DeviceFeaturesSelect = 0;
        Assert.Equal((uint)(MacAndStatus | MergedBuffers), rig.Device.DeviceFeatures);
        byte[] config = new byte[8];
        rig.Device.ReadConfig(0, config);
        Assert.Equal([.. mac, 1, 0], config);

        // A frame on its way out is lost; a buffer for one that comes in stays with the device.
        rig.Request(0, place: 0, opcode: 0, unique: 0);
        rig.Request(1, place: 0, opcode: 0, unique: 0);
        fake.Close();
        rig.Until(() => rig.UsedIndex(1) == 1);
        Assert.Equal(0, rig.UsedIndex(0));
        rig.Device.ReadConfig(0, config);
        Assert.Equal([.. mac, 0, 0], config);
        Assert.Equal(1, rig.ConfigurationInterrupts);
        rig.Device.Status = 0;
        Assert.Equal(0u, rig.Device.Status);
    }

    [Theory]
    [InlineData((int)R.GetFeatures)]
    [InlineData((int)R.GetProtocolFeatures)]
    [InlineData((int)R.GetQueueNum)]
    public void A_back_end_that_answers_nonsense_at_the_start_is_refused(int request)
    {
        var at = (R)request;
        byte[]?[] answers =
        [
            FakeBackend.Message((uint)at + 1, 5, new byte[8]),                  // another request's
            FakeBackend.Message((uint)at, 1, new byte[8]),                      // no answer
            FakeBackend.Message((uint)at, 6, new byte[8]),                      // another version
            FakeBackend.Message((uint)at, 5, new byte[4]),                      // too short
            FakeBackend.Message((uint)at, 5, new byte[8], 0xffff_ffff),         // too long
            [1, 2, 3],                                                          // a part, and silence
            [],                                                                 // silence
            null,                                                               // closes
        ];
        foreach (byte[]? answer in answers)
        {
            using FakeBackend fake = new FakeBackend { Instead = (asked, right) => asked == at ? answer : right }.Start();
            using VhostRig rig = RigFor(fake, Short);
            Assert.Throws<VhostUserException>(() => rig.Backend.Greet(2));
        }
    }

    /// <summary>Without protocol features the first answer is the only one.</summary>
    [Fact]
    public void A_program_that_was_just_started_has_more_time_for_its_first_answer()
    {
        byte[]? Late(R asked, byte[]? right)
        {
            Thread.Sleep(3 * Short);
            return right;
        }

        using FakeBackend fake = new FakeBackend { Features = 1UL << 32, Instead = Late }.Start();
        using VhostRig rig = RigFor(fake, Short);
        rig.Backend.Greet(2, first: TimeSpan.FromMinutes(2));
        Assert.Equal(1UL << 32, rig.Backend.Features);
    }

    [Fact]
    public void Too_few_queues_or_an_old_virtio_are_refused()
    {
        using FakeBackend few = new FakeBackend { Queues = 1 }.Start();
        using VhostRig rig = RigFor(few);
        Assert.Equal("it serves 1 queues; 2 are needed", Assert.Throws<VhostUserException>(() => rig.Backend.Greet(2)).Message);
        using FakeBackend old = new FakeBackend { Features = 1UL << 30 }.Start();
        using VhostRig other = RigFor(old);
        Assert.Throws<VhostUserException>(() => other.Backend.Greet(2));
    }

    [Theory]
    [InlineData((int)R.SetMemTable)]
    [InlineData((int)R.SetVringKick)]
    [InlineData((int)R.GetVringBase)]
    public void A_back_end_that_refuses_or_hangs_later_is_lost_and_the_guest_goes_on(int request)
    {
        var at = (R)request;
        foreach (byte[]? answer in (byte[]?[])[FakeBackend.Message((uint)at, 5, [1, 0, 0, 0, 0, 0, 0, 0], at == R.GetVringBase ? 9u : 8u), [], null])
        {
            using FakeBackend fake = new FakeBackend { Instead = (asked, right) => asked == at ? answer : right }.Start();
            using VhostRig rig = RigFor(fake, Short);
            rig.Start();
            if (at == R.GetVringBase)
            {
                rig.Device.Status = 0;
                Assert.Equal(0u, rig.Device.Status);
                rig.StartDriver();
            }

            ulong place = rig.Request(1, place: 0, opcode: 15, unique: 7);
            rig.Until(() => rig.UsedIndex(1) == 1);
            AssertFailed(rig, place, 7);
            Assert.Single(rig.Told);
        }
    }

    private static VhostRig RigFor(FakeBackend fake, TimeSpan? patience = null) =>
        new((loop, memory, tell) => new VhostUserBackend(fake.FrontEnd, loop, memory, patience ?? Patience, tell));

    private static void AssertFailed(VhostRig rig, ulong answer, ulong unique)
    {
        Assert.Equal(16u, rig.Read<uint>(answer));
        Assert.Equal(-5, rig.Read<int>(answer + 4));
        Assert.Equal(unique, rig.Read<ulong>(answer + 8));
    }

    private static ulong Number(ReadOnlySpan<byte> payload) => BinaryPrimitives.ReadUInt64LittleEndian(payload);

    private static unsafe void Signal(int eventFd)
    {
        ulong one = 1;
        Assert.Equal(8, LibC.write(eventFd, &one, 8));
    }

    private static unsafe ulong Count(int eventFd)
    {
        ulong count;
        return LibC.read(eventFd, &count, 8) == 8 ? count : 0;
    }
}

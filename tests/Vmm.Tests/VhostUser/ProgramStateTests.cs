using System.Buffers.Binary;
using System.Text;
using Vmm.Backends.Shares;
using Vmm.Backends.VhostUser;
using Vmm.Devices.Memory;
using Vmm.Devices.State;
using Vmm.Devices.Virtio.Vhost;
using Vmm.Host;
using Vmm.Tests.Shared;
using R = Vmm.Backends.VhostUser.VhostUserRequest;

namespace Vmm.Tests.VhostUser;

/// <summary>What a program that serves a device knows of the guest is part of the machine's state.</summary>
public sealed class ProgramStateTests
{
    private const uint Init = 26, Lookup = 1, Open = 14, Read = 15;

    private static readonly TimeSpan Patience = TimeSpan.FromSeconds(60), Short = TimeSpan.FromMilliseconds(300);

    [VirtiofsdTheory]
    [InlineData(false)]
    [InlineData(true)]
    public void What_the_guest_has_open_is_open_in_another_virtiofsd(bool isElsewhere)
    {
        string program = $"{RustVirtiofsd.Directory}/virtiofsd";
        using var place = new SharedTree();
        using var other = new SharedTree();
        File.WriteAllText($"{place.Path}/file, one", "the text of the file");
        File.WriteAllText($"{other.Path}/file, one", "the text of the file");
        using Virtiofsd first = Virtiofsd.Start(place.Path, Share(place), "namespace", program);
        using VhostRig rig = RigFor(first);
        rig.Start();
        Ask(rig, 0, Init, 1, 1, InitBody());
        ulong node = rig.Read<ulong>(Ask(rig, 1, Lookup, 2, 1, "file, one\0"u8) + 16);
        ulong handle = rig.Read<ulong>(Ask(rig, 2, Open, 3, node, new byte[8]) + 16);
        Assert.Equal("the text", ReadFile(rig, 3, 4, node, handle, 0));

        Assert.True(rig.Served.TryHold(Patience));
        byte[] state = StateWriter.Save(rig.Device);
        byte[] memory = rig.CopyMemory();
        rig.Served.Release();
        Assert.Equal(" of the ", ReadFile(rig, 0, 5, node, handle, 8));       // it goes on

        SharedTree there = isElsewhere ? other : place;
        using Virtiofsd second = Virtiofsd.Start(there.Path, Share(there) with { IsRestored = true }, "namespace", program);
        using VhostRig next = RigFor(second);
        next.FillMemory(memory);
        next.Backend.Greet(queues: 2);
        StateReader.Load(state, "device", next.Device);
        Assert.Equal(" of the ", ReadFile(next, 0, 5, node, handle, 8));
        Assert.Equal("file", ReadFile(next, 1, 6, node, handle, 16));
        Assert.Empty(rig.Told.Concat(next.Told));
    }

    [Fact]
    public void Queues_stand_still_and_go_on_behind_what_was_given_back()
    {
        using FakeBackend fake = new FakeBackend { State = [1, 2, 3], Taken = 1 }.Start();
        using VhostRig rig = RigFor(fake);
        rig.Start();
        rig.Request(1, 0, Init, 1);
        Assert.False(rig.Served.TryHold(Short), "one is taken, and not given back");
        Assert.Equal(1u, BinaryPrimitives.ReadUInt32LittleEndian(fake.PayloadOf(R.SetVringBase).AsSpan(4)));     // it went on
        rig.Use(0, 0);
        rig.Use(1, 0);
        rig.Kick(1).Drain();
        Assert.True(rig.Served.TryHold(Patience));
        int held = fake.Asked.Length;
        Assert.True(rig.Served.TryHold(Patience));
        Assert.Equal(held, fake.Asked.Length);
        byte[] state = StateWriter.Save(rig.Device);
        Assert.Equal([R.SetDeviceStateFd, R.CheckDeviceState], fake.Asked[held..].Select(static asked => asked.Request));
        rig.Served.Release();
        Assert.Contains(R.SetVringKick, fake.Asked[held..].Select(static asked => asked.Request));
        Assert.True(rig.Kick(1).Drain(), "what the guest has not told yet is looked for");

        using FakeBackend other = new FakeBackend { State = [] }.Start();
        using VhostRig next = RigFor(other);
        next.FillMemory(rig.CopyMemory());
        next.Backend.Greet(queues: 2);
        StateReader.Load(state, "device", next.Device);
        Assert.Equal([1, 2, 3], other.State);
        Assert.Equal(1u, BinaryPrimitives.ReadUInt32LittleEndian(other.PayloadOf(R.SetVringBase).AsSpan(4)));
        next.Until(() => next.Interrupts.Count > 1);        // whatever the first one had not told
    }

    [Fact]
    public void A_program_that_does_not_give_its_state_is_named()
    {
        using FakeBackend fake = new FakeBackend { Taken = 0 }.Start();
        using VhostRig rig = RigFor(fake);
        rig.Start();
        rig.Request(1, 0, Init, 1);
        Assert.True(rig.Served.TryHold(Patience));
        Assert.False(rig.Backend.CanSave);
        Assert.Throws<NotSupportedException>(() => StateWriter.Save(rig.Device));
    }

    [Theory]
    [InlineData(42, 0x101, "refused SetDeviceStateFd (0x101)")]
    [InlineData(42, 0, "refused SetDeviceStateFd (0x0)")]
    [InlineData(43, 1, "could not write its state")]
    public void A_program_that_fails_is_an_error_and_no_more(uint request, ulong answers, string says)
    {
        using FakeBackend fake = new FakeBackend
        {
            State = [1],
            Taken = 0,
            Instead = (asked, usual) => (uint)asked == request ? FakeBackend.Message(request, 5, BitConverter.GetBytes(answers)) : usual,
        }.Start();
        using VhostRig rig = RigFor(fake);
        rig.Start();
        rig.Request(1, 0, Init, 1);
        Assert.True(rig.Served.TryHold(Patience));
        Assert.Contains(says, Assert.Throws<NotSupportedException>(() => StateWriter.Save(rig.Device)).Message, StringComparison.Ordinal);
    }

    [Fact]
    public void A_state_that_a_program_does_not_take_is_refused()
    {
        using FakeBackend fake = new FakeBackend { State = [1], Taken = 0 }.Start();
        using VhostRig rig = RigFor(fake);
        rig.Start();
        rig.Request(1, 0, Init, 1);
        Assert.True(rig.Served.TryHold(Patience));
        byte[] state = StateWriter.Save(rig.Device);
        foreach ((FakeBackend Program, string Says) each in new[]
        {
            (new FakeBackend(), "cannot take over"),
            (new FakeBackend
            {
                State = [],
                Instead = static (asked, usual) => asked == R.CheckDeviceState ? FakeBackend.Message(43, 5, BitConverter.GetBytes(1UL)) : usual,
            }, "could not use it"),
        })
        {
            using FakeBackend other = each.Program.Start();
            using VhostRig next = RigFor(other);
            next.FillMemory(rig.CopyMemory());
            next.Backend.Greet(queues: 2);
            StateException error = Assert.Throws<StateException>(() => StateReader.Load(state, "device", next.Device));
            Assert.Equal("device.device.program", error.Field);
            Assert.Contains(each.Says, error.Message, StringComparison.Ordinal);
        }
    }

    private static ShareSpec Share(SharedTree tree) => new(tree.Path, "/x", IsWritable: false, Tag: null);

    private static VhostRig RigFor(Virtiofsd program) => new(
        (loop, memory, tell) => new VhostUserBackend(program.Socket, loop, memory, Patience, tell));

    private static VhostRig RigFor(FakeBackend fake) => new(
        (loop, memory, tell) => new VhostUserBackend(fake.FrontEnd, loop, memory, Patience, tell));

    private static byte[] InitBody()
    {
        byte[] body = new byte[16];
        BinaryPrimitives.WriteUInt32LittleEndian(body, 7);
        BinaryPrimitives.WriteUInt32LittleEndian(body.AsSpan(4), 31);
        return body;
    }

    /// <summary>Eight bytes. struct fuse_read_in: handle, offset, size, and three more.</summary>
    private static string ReadFile(VhostRig rig, int place, ulong unique, ulong node, ulong handle, ulong offset)
    {
        byte[] body = new byte[40];
        BinaryPrimitives.WriteUInt64LittleEndian(body, handle);
        BinaryPrimitives.WriteUInt64LittleEndian(body.AsSpan(8), offset);
        BinaryPrimitives.WriteUInt32LittleEndian(body.AsSpan(16), 8);
        ulong answer = Ask(rig, place, Read, unique, node, body, room: 16 + 8);
        byte[] text = new byte[rig.Read<uint>(answer) - 16];
        Assert.True(rig.Memory.TryRead(new GuestAddress(answer + 16), text));
        return Encoding.ASCII.GetString(text);
    }

    private static ulong Ask(VhostRig rig, int place, uint opcode, ulong unique, ulong node, ReadOnlySpan<byte> body, uint room = 256)
    {
        ushort before = rig.UsedIndex(1);
        ulong answer = rig.Request(1, place, opcode, unique, body, room);
        rig.Write(answer - 0x800 + 16, node);
        rig.Device.NotifyQueue(1);
        rig.Until(() => rig.UsedIndex(1) != before);
        Assert.Equal(unique, rig.Read<ulong>(answer + 8));
        Assert.Equal(0, rig.Read<int>(answer + 4));
        return answer;
    }
}

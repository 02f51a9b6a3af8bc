using FsCheck;
using FsCheck.Fluent;
using Vmm.Devices.Memory;
using Vmm.Devices.Virtio;
using Vmm.Tests.Shared;

namespace Vmm.Devices.Tests.Virtio;

/// <summary>Random and mutated rings: whatever a driver writes, the device sees exactly what the model of the
/// specification sees, or refuses where the model does.</summary>
public sealed class RingPropertyTests
{
    private const uint Size = 8;
    private const ulong Memory = 0x40000;
    private const ulong High = 0x1_0000_0000;
    private const ulong IndirectTables = 0x20000;

    /// <summary>One descriptor as the driver writes it; Link is next or id, Broken spoils a packed ring's flags.</summary>
    public sealed record Raw(ulong Address, uint Length, ushort Flags, ushort Link, bool Broken);

    /// <summary>What the driver does before the device looks.</summary>
    public sealed record Round(Raw[] Ring, Raw[] Tables, ushort[] Heads, int Offered, int Order);

    private static Gen<Raw> AnyRaw(bool ring) =>
        from address in Gen.Frequency(
            (20, Gen.Choose(0, 0x3f000).Select(static a => (ulong)a)),
            (ring ? 10 : 1, Gen.Choose(0, 15).Select(static i => IndirectTables + ((ulong)i * 16))),
            (2, Gen.Choose(0, 0xf00).Select(static a => High + (ulong)a)),
            (1, Gen.Elements(Memory - 1, Memory, 0xd000_0000UL, High - 1, High + 0xfff, ulong.MaxValue, 1UL << 63)))
        from length in Gen.Frequency(
            (10, Gen.Choose(0, 0x200).Select(static l => (uint)l)),
            (10, Gen.Choose(0, 10).Select(static l => (uint)l * 16)),
            (1, Gen.Elements(0u, 1u, 0x40000u, 0x8000_0000u, uint.MaxValue)))
        from flags in Gen.Frequency(
            (6, Gen.Constant(0)), (4, Gen.Constant(1)), (6, Gen.Constant(2)), (4, Gen.Constant(3)),
            (ring ? 4 : 1, Gen.Constant(4)), (1, Gen.Choose(0, 0x7f)))
        from link in Gen.Frequency((30, Gen.Choose(0, (int)Size - 1)), (1, Gen.Choose(0, 0xffff)))
        from broken in Gen.Frequency((40, Gen.Constant(false)), (1, Gen.Constant(true)))
        select new Raw(address, length, (ushort)flags, (ushort)link, broken);

    private static Gen<Round> AnyRound =>
        from ring in AnyRaw(ring: true).ArrayOf((int)Size)
        from tables in AnyRaw(ring: false).ArrayOf(24)
        from heads in Gen.Frequency((40, Gen.Choose(0, (int)Size - 1)), (1, Gen.Choose(0, 0xffff)))
            .Select(static h => (ushort)h).ArrayOf((int)Size)
        from offered in Gen.Frequency((20, Gen.Choose(0, (int)Size)), (1, Gen.Choose(0, 0xffff)))
        from order in Gen.Choose(0, int.MaxValue)
        select new Round(ring, tables, heads, offered, order);

    [Theory]
    [InlineData(RingKind.Split, true)]
    [InlineData(RingKind.Split, false)]
    [InlineData(RingKind.Packed, true)]
    [InlineData(RingKind.Packed, false)]
    public void A_device_sees_in_any_ring_what_the_specification_says(RingKind kind, bool indirect)
    {
        int chains = 0;
        int faults = 0;
        using var test = new TestMemory((0, Memory), (High, 0x1000));
        Check.One(
            Config.QuickThrowOnFailure.WithMaxTest(3000).WithReplay(20260, 1122 + 1),
            Prop.ForAll(AnyRound.ArrayOf(4).ToArbitrary(), rounds => Agree(test.Memory, kind, indirect, rounds, ref chains, ref faults)));

        // The generator must reach both outcomes often, or the test shows little.
        Assert.InRange(chains, 1000, int.MaxValue);
        Assert.InRange(faults, 1000, int.MaxValue);
    }

    private static void Agree(GuestMemory memory, RingKind kind, bool indirect, Round[] rounds, ref int chains, ref int faults)
    {
        ulong features = VirtioFeatures.EventIndex | (indirect ? VirtioFeatures.IndirectDescriptors : 0);
        using var queue = new BareQueue(memory, kind, (ushort)Size, features);
        RingModel model = kind == RingKind.Split
            ? new SplitModel(memory, queue.Driver, indirect)
            : new PackedModel(memory, queue.Driver, indirect);
        var vectors = new IoVector[Size];
        var expected = new List<Buffer>();
        var inFlight = new List<(DescriptorChain Chain, ushort Id)>();
        ushort availIdx = 0;
        foreach (Round round in rounds)
        {
            Write(memory, queue.Driver, model, round, ref availIdx);
            while (true)
            {
                RingModel.Outcome outcome = model.Pop(expected, out ushort id);
                bool popped = queue.Device.TryPop(vectors, out DescriptorChain chain);
                Assert.Equal(outcome == RingModel.Outcome.Chain, popped);
                Assert.Equal(outcome == RingModel.Outcome.Fault ? 1 : 0, queue.Faults.Count);
                if (outcome == RingModel.Outcome.Fault)
                {
                    faults++;
                    Assert.False(queue.Device.TryPop(vectors, out _));
                    return;
                }

                if (!popped)
                {
                    break;
                }

                chains++;
                AssertSame(memory, expected, vectors, chain);
                Assert.Equal(id, chain.Id);
                inFlight.Add((chain, id));
            }

            // Give some of them back, in some order; the model finds them in the ring.
            var random = new Random(round.Order);
            var given = new List<(ushort Id, uint Written)>();
            for (int i = random.Next(inFlight.Count + 1); i > 0; i--)
            {
                int at = kind == RingKind.Split ? random.Next(inFlight.Count) : FirstOfItsId(inFlight, random);
                var written = (uint)random.Next(0, 3);
                queue.Device.Complete(inFlight[at].Chain, written);
                given.Add((inFlight[at].Id, written));
                inFlight.RemoveAt(at);
            }

            queue.Device.Publish();
            foreach ((ushort id, uint written) in given)
            {
                model.CheckUsed(id, written);
            }

            model.CheckPublished();
            Assert.Equal(model.InFlight, queue.Device.Outstanding);
        }
    }

    /// <summary>A driver that uses one id twice cannot tell its buffers apart: the model takes the older first.</summary>
    private static int FirstOfItsId(List<(DescriptorChain Chain, ushort Id)> inFlight, Random random)
    {
        ushort id = inFlight[random.Next(inFlight.Count)].Id;
        return inFlight.FindIndex(entry => entry.Id == id);
    }

    private static void Write(GuestMemory memory, TestDriverQueue ring, RingModel model, Round round, ref ushort availIdx)
    {
        for (int i = 0; i < round.Tables.Length; i++)
        {
            Raw raw = round.Tables[i];
            ulong at = IndirectTables + ((ulong)i * 16);
            ring.Write(at, raw.Address);
            ring.Write(at + 8, raw.Length);
            ring.Write(at + 12, ring is TestDriverSplit ? raw.Flags : raw.Link);
            ring.Write(at + 14, ring is TestDriverSplit ? raw.Link : raw.Flags);
        }

        if (model is PackedModel packed)
        {
            // From where the device is, as far as the driver may go; broken ones and the end of the offer stop it.
            uint position = packed.Position;
            bool wrap = packed.Wrap;
            for (int i = 0; i < Size; i++)
            {
                Raw raw = round.Ring[i];
                bool available = i < round.Offered && !raw.Broken;
                ulong at = ring.DescriptorArea + (position * 16);
                ring.Write(at, raw.Address);
                ring.Write(at + 8, raw.Length);
                ring.Write(at + 12, raw.Link);
                int state = available == wrap ? 0x80 : 0x8000;
                ring.Write(at + 14, (ushort)((raw.Flags & 7) | state));
                if (++position == Size)
                {
                    position = 0;
                    wrap = !wrap;
                }
            }

            return;
        }

        for (int i = 0; i < Size; i++)
        {
            Raw raw = round.Ring[i];
            ((TestDriverSplit)ring).Descriptor((ushort)i, raw.Address, raw.Length, raw.Flags, raw.Link);
            ring.Write(ring.DriverArea + 4 + ((ulong)((availIdx + i) % (int)Size) * 2), round.Heads[i]);
        }

        availIdx += (ushort)round.Offered;
        memory.Write(new GuestAddress(ring.DriverArea + 2), availIdx);
    }

    private static void AssertSame(GuestMemory memory, List<Buffer> expected, IoVector[] vectors, DescriptorChain chain)
    {
        Assert.Equal(expected.Count, chain.Count);
        ulong readable = 0;
        ulong writable = 0;
        for (int i = 0; i < expected.Count; i++)
        {
            Buffer buffer = expected[i];
            Assert.Equal(buffer.Length, (ulong)vectors[i].Length);
            Assert.Equal(buffer.Writable, i >= chain.Readable);
            Assert.Equal(Host(memory, buffer.Address), vectors[i].Base);
            readable += buffer.Writable ? 0 : buffer.Length;
            writable += buffer.Writable ? buffer.Length : 0;
        }

        Assert.Equal(readable, chain.ReadableBytes);
        Assert.Equal(writable, chain.WritableBytes);
    }

    private static unsafe nint Host(GuestMemory memory, ulong address)
    {
        Assert.True(memory.TryGetPointer(new GuestAddress(address), 1, out byte* pointer));
        return (nint)pointer;
    }
}

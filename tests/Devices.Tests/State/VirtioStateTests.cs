using Vmm.Devices.State;
using Vmm.Devices.Tests.Virtio;
using Vmm.Devices.Virtio;
using Vmm.Devices.Virtio.Block;
using Vmm.Devices.Virtio.Net;

namespace Vmm.Devices.Tests.State;

/// <summary>Each virtio device over each transport and ring: driven at random, saved, loaded into a fresh one, both go on
/// alike in every register, byte of memory, interrupt and in what leaves them.</summary>
public sealed class VirtioStateTests
{
    private const int Rounds = 60;

    [Theory]
    [MemberData(nameof(TestTarget.All), MemberType = typeof(TestTarget))]
    public void A_device_and_one_that_took_over_its_state_go_on_alike(Variant variant, TargetKind kind)
    {
        for (int seed = 0; seed < 4; seed++)
        {
            var random = new Random((seed * 100) + (int)kind);
            using var pair = new Pair(kind, variant);
            for (int i = random.Next(Rounds); i > 0; i--)
            {
                pair.Step(random, nonsense: false);
            }

            pair.Take(StateWriter.Save(pair.One.Driver.Transport.State));
            for (int i = 0; i < Rounds; i++)
            {
                pair.Step(random, nonsense: i > Rounds * 3 / 4);
            }
        }
    }

    /// <summary>Before it is live, and after it broke, a device has a state as well.</summary>
    [Theory]
    [MemberData(nameof(TestTarget.All), MemberType = typeof(TestTarget))]
    public void A_device_set_up_at_random_is_taken_over(Variant variant, TargetKind kind)
    {
        for (int seed = 0; seed < 20; seed++)
        {
            var random = new Random((seed * 100) + (int)kind);
            using var pair = new Pair(kind, variant);
            for (int i = random.Next(400); i > 0; i--)
            {
                pair.Poke(random);
            }

            pair.RunLoops();
            pair.Take(StateWriter.Save(pair.One.Driver.Transport.State));
            for (int i = 0; i < 200; i++)
            {
                pair.Poke(random);
            }

            pair.RunLoops();
        }
    }

    [Theory]
    [MemberData(nameof(TestTarget.All), MemberType = typeof(TestTarget))]
    public void A_hostile_state_is_refused_by_name_or_behaves(Variant variant, TargetKind kind)
    {
        using var target = new TestTarget(kind, variant);
        target.AssertServes();
        target.Ring.Add(target.Valid());
        byte[] good = StateWriter.Save(target.Driver.Transport.State);
        int refused = 0, loaded = 0;
        for (int seed = 0; seed < 300; seed++)
        {
            var random = new Random(seed);
            using var fresh = new TestTarget(kind, variant, start: false);
            fresh.Rig.Test.CopyFrom(target.Rig.Test);
            try
            {
                StateReader.Load(StateMutation.Mutate(good, random), "m", fresh.Driver.Transport.State);
                loaded++;
            }
            catch (StateException error)
            {
                Assert.StartsWith("m", error.Field, StringComparison.Ordinal);
                refused++;
                continue;
            }

            byte[] data = new byte[8];
            for (int i = 0; i < 50; i++)
            {
                Assert.True(fresh.Rig.RunLoop(1000) < 1000, "the loop spins");
                random.NextBytes(data);
                fresh.Driver.Transport.Raw((ulong)random.Next(0x120), data.AsSpan(0, random.Next(1, 9)), random.Next(2) == 0);
            }

            if (fresh.Driver.Transport is TestTransportPci pci)
            {
                pci.Pci.Write(TestTransportPci.Slot, 0x10, TestTransportPci.WindowAddress);
                pci.Pci.Write(TestTransportPci.Slot, 4, 0x0006, 2);
                pci.EnableMsix();
            }

            fresh.Rig.RunLoop(1000);
            fresh.Driver.Start();
            fresh.AssertServes();
        }

        Assert.True(refused > 30, $"{refused} refused");
        Assert.True(loaded > 5, $"{loaded} loaded");
    }

    [Theory]
    [MemberData(nameof(Variant.All), MemberType = typeof(Variant))]
    public void A_state_is_not_saved_while_the_host_has_requests(Variant variant)
    {
        using var rig = new BlockRig(variant);
        rig.Disk.Immediate = false;
        rig.Add(BlockRig.In, 0, rig.Driver.Allocate(512), 512, out _);
        rig.Driver.Kick();
        Assert.Contains("in flight", Assert.Throws<InvalidOperationException>(
            () => StateWriter.Save(rig.Driver.Transport.State)).Message, StringComparison.Ordinal);
        rig.Disk.Complete(0);
        StateWriter.Save(rig.Driver.Transport.State);
    }

    [Fact]
    public void What_does_not_fit_this_machine_is_refused_by_name()
    {
        using var rig = new BlockRig(Variant.Default);
        byte[] state = StateWriter.Save(rig.Driver.Transport.State);
        Assert.Equal("disk.virtio.device.config", Refused(disk: new FakeDisk(2 << 20)));
        Assert.Equal("disk.virtio.driverFeatures", Refused(new BlockOptions { Writeback = false }));
        Assert.Equal("disk.virtio.queues", Refused(new BlockOptions { Queues = 2 }));
        using var rng = new TestTarget(TargetKind.Rng, Variant.Default, start: false);
        Assert.Equal("disk.virtio.driverFeatures", Assert.Throws<StateException>(
            () => StateReader.Load(state, "disk", rng.Driver.Transport.State)).Field);

        string Refused(BlockOptions? options = null, FakeDisk? disk = null)
        {
            using var other = new BlockRig(Variant.Default, options, disk, start: false);
            return Assert.Throws<StateException>(() => StateReader.Load(state, "disk", other.Driver.Transport.State)).Field;
        }
    }

    [Theory]
    [MemberData(nameof(Variant.All), MemberType = typeof(Variant))]
    public void A_link_that_is_down_now_is_reported_to_the_guest(Variant variant)
    {
        using var rig = new NetRig(variant);
        byte[] state = StateWriter.Save(rig.Driver.Transport.State);
        using var other = new NetRig(variant, start: false);
        other.Rig.Test.CopyFrom(rig.Rig.Test);
        other.Card.SetLink(false);
        uint generation = rig.Driver.Transport.ConfigGeneration;
        StateReader.Load(state, "m", other.Driver.Transport.State);
        Assert.Equal(2u, other.Driver.Transport.TakeInterrupts() & 2);
        Assert.NotEqual(generation, other.Driver.Transport.ConfigGeneration);
        Assert.Equal(0u, other.Driver.Transport.ReadConfig32(4) >> 16);
    }

    [Fact]
    public void A_card_with_another_address_remembers_the_one_that_the_guest_has_read()
    {
        using var rig = new NetRig(Variant.Default);
        byte[] state = StateWriter.Save(rig.Driver.Transport.State), address = [2, 0, 0, 0, 0, 9];
        using var same = new NetRig(Variant.Default, start: false);
        same.Rig.Test.CopyFrom(rig.Rig.Test);
        StateReader.Load(state, "m", same.Driver.Transport.State);
        Assert.True(same.Card.SavedMac.IsEmpty);
        using var other = new NetRig(Variant.Default, options: new NetOptions { Mac = address }, start: false);
        other.Rig.Test.CopyFrom(rig.Rig.Test);
        StateReader.Load(state, "m", other.Driver.Transport.State);
        Assert.Equal((Convert.ToHexString(NetRig.Mac), Convert.ToHexString(address)),
            (Convert.ToHexString(other.Card.SavedMac.Span), Convert.ToHexString(other.Card.Mac.Span)));
    }

    /// <summary>A device, and one that took over its state.</summary>
    private sealed class Pair : IDisposable
    {
        private readonly TargetKind _kind;
        private readonly TestTransport _one;
        private TestTarget? _other;
        private int _interrupts;
        private int _logged;
        private int _added;
        private long _served;

        public Pair(TargetKind kind, Variant variant)
        {
            (_kind, Variant) = (kind, variant);
            One = new TestTarget(kind, variant);
            _one = One.Driver.Transport;
        }

        public Variant Variant { get; }

        public TestTarget One { get; }

        public void Take(byte[] state)
        {
            _other = new TestTarget(_kind, Variant, start: false);
            _other.Rig.Test.CopyFrom(One.Rig.Test);
            One.Disk?.Bytes.CopyTo(_other.Disk!.Bytes, 0);
            if (One.Net is not null)
            {
                _other.Net!.CopyFrom(One.Net);
            }

            TestTransport transport = _other.Driver.Transport;
            StateReader.Load(state, "m", transport.State);
            Assert.Equal(state, StateWriter.Save(transport.State));
            One.Driver.Transport = new MirrorTransport(_one, transport);

            // The fresh device looks at all of its queues once; so does the old one.
            for (int queue = 0; queue < One.Device.QueueSizes.Length; queue++)
            {
                One.Rig.Kick(One.Device, queue);
            }

            One.Rig.RunLoop();
            _other.Rig.RunLoop();
            _one.TakeInterrupts();
            transport.TakeInterrupts();
            Assert.True(One.Rig.Test.IsSame(_other.Rig.Test), "memory differs");
            One.Net?.Sent.Clear();
            _other.Net?.Sent.Clear();
            _logged = One.Rig.Log.Count - _other.Rig.Log.Count;
            _interrupts = _other.Rig.Interrupts - One.Rig.Interrupts;
            _served = _other.Served - One.Served;
        }

        public void Step(Random random, bool nonsense)
        {
            TestTransport transport = One.Driver.Transport;
            int queue = One.Queue;
            switch (random.Next(nonsense ? 12 : 10))
            {
                case < 5:
                    for (int i = random.Next(1, 4); i > 0 && _added < One.Ring.Size / 3; i--)
                    {
                        One.Ring.Add(One.Valid());
                        _added++;
                    }

                    if (random.Next(4) != 0)
                    {
                        transport.Notify((uint)queue);
                    }

                    break;
                case 5:
                    byte[] frame = NetRig.Frame(random.Next(14, 3000), random.Next());
                    One.Net?.Inject(frame);
                    _other?.Net?.Inject(frame);
                    break;
                case 6:
                    transport.TakeInterrupts();
                    break;
                case 7:
                    transport.ReadConfig(0, new byte[8]);
                    Assert.NotEqual(0u, transport.Status);
                    break;
                case 8 when random.Next(4) == 0:
                    transport.ResetQueue(queue);
                    Assert.False(transport.IsQueueResetting(queue));
                    One.Driver.SetUpQueue(queue);
                    _added = 0;
                    break;
                case 9 when random.Next(4) == 0:
                    transport.Status = 0;
                    One.Driver.Negotiate();
                    One.Driver.SetUpQueues();
                    transport.Status |= TestDriver.DriverOk;
                    _added = 0;
                    break;
                case >= 10:
                    Poke(random);
                    break;
            }

            RunLoops();
            while (One.Ring.TryTake(out _, out _))
            {
                _added--;
            }

            Synchronize();
        }

        /// <summary>Any access at all.</summary>
        public void Poke(Random random)
        {
            byte[] data = new byte[random.Next(2) == 0 ? 4 : random.Next(1, 9)];
            random.NextBytes(data);
            switch (random.Next(4))
            {
                case 0:
                    Array.Clear(data);
                    data[0] = (byte)random.Next(16);
                    break;
                case 1 when data.Length == 4:
                    BitConverter.TryWriteBytes(data, (uint)random.Next((int)TestRig.LowMemory));
                    break;
            }

            One.Driver.Transport.Raw((ulong)random.Next(0x120), data, random.Next(3) != 0);
        }

        public void RunLoops()
        {
            Synchronize();
            int turns = One.Rig.RunLoop(2000);
            Assert.True(turns < 2000, "the loop spins");
            if (_other is null)
            {
                return;
            }

            Assert.Equal(turns, _other.Rig.RunLoop(2000));
            Assert.True(One.Rig.Test.IsSame(_other.Rig.Test), "memory differs");
            Assert.Equal(One.Rig.Interrupts, _other.Rig.Interrupts - _interrupts);
            Assert.Equal(One.Served, _other.Served - _served);
            Assert.Equal(One.Rig.Log.Count, _other.Rig.Log.Count + _logged);
            if (One.Disk is not null)
            {
                Assert.True(One.Disk.Bytes.AsSpan().SequenceEqual(_other.Disk!.Bytes), "disks differ");
            }

            if (One.Net is not null)
            {
                Assert.Equal(One.Net.Sent.Select(static sent => sent.Frame), _other.Net!.Sent.Select(static sent => sent.Frame));
                One.Net.Sent.Clear();
                _other.Net.Sent.Clear();
            }
        }

        public void Dispose()
        {
            One.Dispose();
            _other?.Dispose();
        }

        /// <summary>What the driver wrote is in the other guest's memory too, before the devices look at it.</summary>
        private void Synchronize() => _other?.Rig.Test.CopyFrom(One.Rig.Test);

    }
}

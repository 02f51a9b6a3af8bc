using Vmm.Devices.Pci;
using Vmm.Devices.Tests.Legacy;
using Vmm.Devices.Virtio;
using Vmm.Devices.Virtio.Block;
using Vmm.Devices.Virtio.Transport;
using Vmm.Tests.Shared;

namespace Vmm.Devices.Tests.Virtio;

public sealed class VirtioPciTests : IDisposable
{
    private const int Slot = TestTransportPci.Slot;
    private const ulong Window = TestTransportPci.WindowAddress;

    private readonly TestRig _rig = new();
    private readonly VirtioBlock _block = new("virtio-blk0", new FakeDisk(1 << 20), new BlockOptions { Queues = 2 });
    private readonly TestTransportPci _transport;
    private readonly TestDriver _driver;

    public VirtioPciTests()
    {
        _driver = new TestDriver(_rig, _block, new Variant(TransportKind.Pci, RingKind.Split));
        _transport = (TestTransportPci)_driver.Transport;
        _transport.DisableMsix();
    }

    public void Dispose() => _rig.Dispose();

    /// <summary>A flush from start to end.</summary>
    private void Flush()
    {
        ulong header = _driver.Allocate(16), status = _driver.Allocate(1);
        _rig.Memory.Write(new Devices.Memory.GuestAddress(header), BlockRig.Header(BlockRig.Flush, 0));
        _driver.Queues[0].Add(new Buffer(header, 16, false), new Buffer(status, 1, true));
        _driver.Kick();
        Assert.True(_driver.Queues[0].TryTake(out _, out _));
    }

    [Fact]
    public void It_is_a_modern_block_device()
    {
        Assert.Equal(0x1042_1af4u, _transport.Pci.Read(Slot, 0));
        Assert.Equal(0x0180_0001u, _transport.Pci.Read(Slot, 8));
        Assert.Equal(0x0042_1af4u, _transport.Pci.Read(Slot, 0x2c));
        Assert.Equal(0x010au, _transport.Pci.Read(Slot, 0x3c, 2));
        Assert.Equal("virtio-blk0", _transport.Function.Name);
    }

    [Fact]
    public void Capabilities_lie_in_the_window_and_apart()
    {
        var structures = new List<(uint Start, uint End)>();
        var types = new List<uint>();
        for (int at = (int)_transport.Pci.Read(Slot, 0x34, 1); at != 0; at = (int)_transport.Pci.Read(Slot, at + 1, 1))
        {
            Assert.Equal(0, at % 4);
            if (_transport.Pci.Read(Slot, at, 1) == 0x11)
            {
                Assert.Equal(2u, _transport.Pci.Read(Slot, at + 2, 2));        // three vectors
                structures.Add((_transport.Pci.Read(Slot, at + 4), _transport.Pci.Read(Slot, at + 4) + 48));
                structures.Add((_transport.Pci.Read(Slot, at + 8), _transport.Pci.Read(Slot, at + 8) + 8));
                continue;
            }

            uint type = _transport.Pci.Read(Slot, at + 3, 1);
            types.Add(type);
            Assert.Equal(type is 2 or 5 ? 20u : 16u, _transport.Pci.Read(Slot, at + 2, 1));
            if (type != 5)
            {
                uint start = _transport.Pci.Read(Slot, at + 8);
                structures.Add((start, start + _transport.Pci.Read(Slot, at + 12)));
                Assert.Equal(0u, start % 4);
            }
        }

        Assert.Equal([1u, 3, 2, 4, 5], types);
        structures.Sort();
        for (int i = 0; i < structures.Count; i++)
        {
            Assert.True(structures[i].Start < structures[i].End);
            Assert.True(structures[i].End <= (i + 1 < structures.Count ? structures[i + 1].Start : 0x4000));
        }
    }

    [Fact]
    public void Registers_read_at_any_width_and_alignment()
    {
        _driver.Negotiate();
        _transport.SetQueue(1, 64, 0x1122_3344_5566_7000, 0x2233_4455_6677_8000, 0x3344_5566_7788_9000);
        byte[] whole = new byte[0x48];
        for (int i = 0; i < 0x40; i++)
        {
            whole[i] = (byte)_transport.Function.Read((ulong)i, 1);
        }

        Assert.Equal(2, whole[18]);
        Assert.Equal(11, whole[20]);
        Assert.Equal(1, whole[22]);
        Assert.Equal(64, whole[24]);
        Assert.Equal(1, whole[30]);
        Assert.Equal(0x1122_3344_5566_7000UL, BitConverter.ToUInt64(whole, 32));
        byte[] data = new byte[8];
        for (int offset = 0; offset < 0x40; offset++)
        {
            for (int width = 1; width <= 8; width++)
            {
                _transport.Function.Read((ulong)offset, data.AsSpan(0, width));
                Assert.Equal(whole.AsSpan(offset, width), data.AsSpan(0, width));
            }
        }
    }

    [Fact]
    public void Registers_are_written_at_their_own_width_only()
    {
        _driver.Negotiate();
        _transport.Write(22, 1, 2);
        foreach ((ulong offset, int natural) in new (ulong, int)[] { (0, 4), (8, 4), (16, 2), (22, 2), (24, 2), (26, 2), (28, 2), (58, 2) })
        {
            ulong before = _transport.Function.Read(offset, 4);
            foreach (int width in new[] { 1, 2, 3, 4, 5, 6, 7, 8 }.Where(w => w != natural))
            {
                _transport.Function.Write(offset, 0x0101_0101_0101_0101, width);
                _transport.Function.Write(offset + 1, 0x0101_0101_0101_0101, width);
            }

            Assert.Equal(before, _transport.Function.Read(offset, 4));
        }

        Assert.Equal(11u, _transport.Status);
        _transport.Function.Write(32, 0x1234_5678_9abc_d000, 8);
        Assert.Equal(0x1234_5678_9abc_d000UL, _transport.Function.Read(32, 8));
        _transport.Write(18, 7, 2);
        Assert.Equal(2u, _transport.Read(18, 2));
    }

    [Fact]
    public void Queues_that_do_not_exist_have_no_size()
    {
        Assert.Equal(128u, _transport.QueueMaxSize(1));
        Assert.Equal(0u, _transport.QueueMaxSize(2));
        Assert.Equal(0u, _transport.QueueMaxSize(0xffff));
        Assert.Equal(0u, _transport.Read(30, 2));
        _transport.Write(26, 1, 2);
        Assert.Equal(0xffffu, _transport.Read(26, 2));
        _transport.WriteMemory(Window + 0x1ffc, 0xffff, 2);
        Assert.Equal(0, _rig.Kicks);
    }

    [Fact]
    public void Vectors_are_checked_and_a_reset_unmaps_them()
    {
        foreach (uint vector in new uint[] { 3, 256, 0xfffe, 0xffff })
        {
            _transport.Write(16, vector, 2);
            Assert.Equal(0xffffu, _transport.Read(16, 2));
            _transport.Write(26, vector, 2);
            Assert.Equal(0xffffu, _transport.Read(26, 2));
        }

        List<(int Queue, int? Vector)> told = [];
        _transport.Function.VectorChanged += queue => told.Add((queue, _transport.Function.VectorOf(queue)));
        _transport.Write(16, 2, 2);
        _transport.Write(26, 1, 2);
        Assert.Equal((2u, 1u), (_transport.Read(16, 2), _transport.Read(26, 2)));
        _transport.Status = 0;
        Assert.Equal((0xffffu, 0xffffu), (_transport.Read(16, 2), _transport.Read(26, 2)));
        Assert.Equal([(0, 1), (0, null), (1, null)], told);
    }

    [Fact]
    public void With_MSI_X_each_queue_has_its_own_interrupt_and_the_pin_is_silent()
    {
        _transport.EnableMsix();
        _driver.Start();
        Flush();
        Assert.Equal([0, 1, 0], _transport.Vectors.Select(v => v.Triggers));
        Assert.Equal(0, _transport.Pin.Rises);
        Assert.Equal(0u, _transport.ReadMemory(Window + 0x40, 1));
    }

    [Fact]
    public void A_masked_vector_keeps_its_interrupt_pending()
    {
        _transport.EnableMsix();
        _driver.Start();
        _transport.WriteMemory(Window + 0x2000 + 16 + 12, 1, 4);
        Flush();
        Assert.Equal(0, _transport.Vectors[1].Triggers);
        Assert.Equal(2u, _transport.ReadMemory(Window + 0x3000, 4));
        _transport.WriteMemory(Window + 0x2000 + 16 + 12, 0, 4);
        Assert.Equal(1, _transport.Vectors[1].Triggers);
        Assert.Equal(0u, _transport.ReadMemory(Window + 0x3000, 4));
    }

    [Fact]
    public void Without_MSI_X_the_pin_is_up_until_ISR_is_read()
    {
        _driver.Start();
        Flush();
        Assert.True(_transport.Pin.Level);
        Assert.Equal(0x0018u, _transport.Pci.Read(Slot, 6, 2));
        _transport.Pci.Write(Slot, 4, 0x0402, 2);           // interrupt disable
        Assert.False(_transport.Pin.Level);
        Assert.Equal(0x0018u, _transport.Pci.Read(Slot, 6, 2));
        _transport.Pci.Write(Slot, 4, 0x0002, 2);
        Assert.True(_transport.Pin.Level);
        Assert.Equal(1u, _transport.ReadMemory(Window + 0x40, 1));
        Assert.False(_transport.Pin.Level);
        Assert.Equal(0u, _transport.ReadMemory(Window + 0x40, 1));
        Assert.Equal(0x0010u, _transport.Pci.Read(Slot, 6, 2));
    }

    [Fact]
    public void A_reset_takes_the_pin_down()
    {
        _driver.Start();
        Flush();
        Assert.True(_transport.Pin.Level);
        _transport.Status = 0;
        Assert.False(_transport.Pin.Level);
        Assert.Equal(0u, _transport.ReadMemory(Window + 0x40, 1));
    }

    [Fact]
    public void The_window_can_be_reached_through_configuration_space()
    {
        int at = _transport.PciCfg;
        void Aim(uint offset, uint length, uint bar = 0)
        {
            _transport.Pci.Write(Slot, at + 4, bar, 1);
            _transport.Pci.Write(Slot, at + 8, offset);
            _transport.Pci.Write(Slot, at + 12, length);
        }

        _transport.Pci.Write(Slot, 4, 0, 2);                // works without the window being mapped
        Aim(18, 2);
        Assert.Equal(2u, _transport.Pci.Read(Slot, at + 16));
        Aim(20, 1);
        _transport.Pci.Write(Slot, at + 16, 1, 1);
        Assert.Equal(1u, _transport.Function.Read(20));
        Assert.Equal(1u, _transport.Pci.Read(Slot, at + 16, 1));
        Aim(0, 4);
        _transport.Pci.Write(Slot, at + 16, 1);
        Aim(4, 4);
        Assert.Equal(1u, _transport.Pci.Read(Slot, at + 16) & 1);       // VERSION_1 is bit 32
        foreach ((uint offset, uint length, uint bar) in
            new (uint, uint, uint)[] { (0, 3, 0), (1, 4, 0), (0x4000, 1, 0), (0x3ffe, 4, 0), (20, 1, 1), (uint.MaxValue, 1, 0), (0, uint.MaxValue, 0) })
        {
            Aim(offset, length, bar);
            _transport.Pci.Write(Slot, at + 16, 0xdead_beef);
            Assert.Equal(0xdead_beef, _transport.Pci.Read(Slot, at + 16));
        }

        Assert.Equal(1u, _transport.Function.Read(20));
    }

    [Fact]
    public void Notifications_follow_the_window()
    {
        var moves = new List<(ulong?, ulong?)>();
        _transport.Function.Window.Moved += (from, to) => moves.Add((from, to));
        _transport.Pci.Write(Slot, 0x10, 0xd000_0000);
        Assert.Equal([(Window, null), (null, 0xd000_0000UL)], moves);
        Assert.Equal(0xd000_0000UL, _transport.Function.Window.MappedAt);
        _transport.WriteMemory(Window + VirtioPciTransport.NotifyOffset(1), 1, 2);
        Assert.Equal(0, _rig.Kicks);
        _transport.WriteMemory(0xd000_0000 + VirtioPciTransport.NotifyOffset(1), 1, 2);
        Assert.Equal(1, _rig.Kicks);
    }

    [Fact]
    public void Registers_have_names()
    {
        Assert.Equal("queue_select", _transport.Function.RegisterName(22, true));
        Assert.Equal("queue_driver", _transport.Function.RegisterName(44, true));
        Assert.Equal("ISR", _transport.Function.RegisterName(0x40, false));
        Assert.Equal("notify", _transport.Function.RegisterName(0x1004, true));
        Assert.Equal("MSI-X table", _transport.Function.RegisterName(0x2000, true));
        Assert.Null(_transport.Function.RegisterName(0x50, true));
    }

    [Fact]
    public void A_million_random_accesses_do_no_harm_and_the_device_still_works()
    {
        var random = new Random(0x1af4);
        Span<byte> data = stackalloc byte[8];
        ulong[] starts = [0, 0, 0x100, 0x1000, 0x2000, 0x3000, 0x3ff0];
        for (int i = 0; i < 1_000_000; i++)
        {
            Span<byte> part = data[..random.Next(1, 9)];
            random.NextBytes(part);
            if (random.Next(3) == 0)
            {
                part.Fill((byte)random.Next(3));
            }

            ulong offset = starts[random.Next(starts.Length)] + (ulong)random.Next(0x50);
            switch (random.Next(8))
            {
                case 0:
                    _transport.Pci.Memory.Write(Pci.TestPci.EcamBase + (Slot << 15) + (ulong)random.Next(0x100), part);
                    break;
                case 1:
                    _transport.Pci.Memory.Read(Pci.TestPci.EcamBase + (Slot << 15) + (ulong)random.Next(0x100), part);
                    break;
                case 2 or 3:
                    _transport.Function.Read(offset, part);
                    break;
                default:
                    _transport.Function.Write(offset, part);
                    break;
            }

            if (random.Next(64) == 0)
            {
                _rig.RunLoop(10);
                _rig.Log.Clear();
            }
        }

        _rig.RunLoop();
        _transport.Pci.Write(Slot, _transport.MsixCapability + 2, 0, 2);
        _transport.Pci.Write(Slot, 4, 2, 2);
        _transport.Pci.Write(Slot, 0x10, (uint)Window);
        _driver.Start();
        Flush();
        Assert.Equal(1u, _transport.TakeInterrupts());
    }

    [Fact]
    public void Steady_state_interrupts_allocate_nothing()
    {
        _transport.EnableMsix();
        _driver.Start();
        Virtio.TestTransportPci.CountingVector vector = _transport.Vectors[1];
        IVirtioInterrupts interrupts = _transport.Function;
        int notified = 0;
        Assert.Equal(0, Allocations.Least(() =>
        {
            for (int i = 0; i < 1000; i++)
            {
                interrupts.NotifyQueue(0);
                interrupts.NotifyConfiguration();
                notified++;
            }
        }));
        Assert.Equal(notified, vector.Triggers);
    }
}

using Vmm.Devices.Pci;
using Vmm.Devices.Tests.Legacy;
using Vmm.Tests.Shared;

namespace Vmm.Devices.Tests.Pci;

public sealed class MsixTests
{
    private const ushort Enable = 0x8000, FunctionMask = 0x4000;

    private readonly RecordingVector[] _vectors = Enumerable.Range(0, 70).Select(_ => new RecordingVector()).ToArray();
    private readonly Msix _msix;

    public MsixTests() => _msix = new Msix(_vectors);

    private void Set(int vector, ulong address, uint data, uint control)
    {
        byte[] bytes = [.. BitConverter.GetBytes(address), .. BitConverter.GetBytes(data), .. BitConverter.GetBytes(control)];
        for (int i = 0; i < 16; i += 4)
        {
            _msix.WriteTable((ulong)((vector * 16) + i), bytes.AsSpan(i, 4));
        }
    }

    private ulong Table(int offset, int width)
    {
        byte[] data = new byte[8];
        _msix.ReadTable((ulong)offset, data.AsSpan(0, width));
        return BitConverter.ToUInt64(data);
    }

    private ulong Pending(int offset = 0)
    {
        byte[] data = new byte[8];
        _msix.ReadPending((ulong)offset, data);
        return BitConverter.ToUInt64(data);
    }

    [Fact]
    public void All_vectors_are_masked_at_first()
    {
        for (int i = 0; i < 70; i++)
        {
            Assert.Equal(1UL, Table((i * 16) + 12, 4));
        }

        Assert.Equal(0UL, Table(70 * 16, 8));
        _msix.SetControl(Enable);
        _msix.Trigger(3);
        _msix.Trigger(69);
        Assert.Equal(8UL, Pending());
        Assert.Equal(32UL, Pending(8));
        Assert.Equal(0, _vectors[3].Triggers + _vectors[69].Triggers);
        Assert.Equal(0, _vectors[3].Updates);
    }

    [Fact]
    public void An_unmasked_vector_is_programmed_and_fires()
    {
        Set(2, 0xfee0_1000, 0x4031, 0);
        Assert.Equal(0, _vectors[2].Updates);
        _msix.SetControl(Enable);
        Assert.Equal((0xfee0_1000UL, 0x4031u, false), (_vectors[2].Address, _vectors[2].Data, _vectors[2].Masked));
        _msix.Trigger(2);
        _msix.Trigger(2);
        Assert.Equal(2, _vectors[2].Triggers);
        Assert.Equal(0UL, Pending());
        Assert.Equal(1, _vectors[2].Updates);
    }

    [Fact]
    public void Masks_hold_an_interrupt_back_and_unmasking_sends_it_once()
    {
        Set(0, 0xfee0_0000, 1, 0);
        _msix.SetControl(Enable | FunctionMask);
        _msix.Trigger(0);
        _msix.Trigger(0);
        Assert.Equal(1UL, Pending());
        _msix.SetControl(Enable);
        Assert.Equal((1, 0UL), (_vectors[0].Triggers, Pending()));
        Set(0, 0xfee0_0000, 1, 1);
        Assert.True(_vectors[0].Masked);
        _msix.Trigger(0);
        Set(0, 0xfee0_2000, 7, 0);
        Assert.Equal(2, _vectors[0].Triggers);
        Assert.Equal(0, _vectors[0].WrongTriggers);
        Assert.Equal((0xfee0_2000UL, 7u), (_vectors[0].Address, _vectors[0].Data));
    }

    [Fact]
    public void Masking_and_unmasking_without_a_change_costs_two_updates_and_a_rewrite_none()
    {
        Set(0, 0xfee0_0000, 1, 0);
        _msix.SetControl(Enable);
        int before = _vectors[0].Updates;
        Set(0, 0xfee0_0000, 1, 0);
        Assert.Equal(before, _vectors[0].Updates);
        Set(0, 0xfee0_0000, 1, 1);
        Set(0, 0xfee0_0000, 1, 1);
        Set(0, 0xfee0_0000, 1, 0);
        Assert.Equal(before + 2, _vectors[0].Updates);
    }

    [Fact]
    public void Turned_off_it_is_silent_and_forgets_what_was_pending()
    {
        _msix.SetControl(Enable);
        _msix.Trigger(1);
        _msix.SetControl(0);
        Assert.Equal(0UL, Pending());
        Set(1, 0xfee0_0000, 1, 0);
        _msix.Trigger(1);
        Assert.Equal(0, _vectors[1].Triggers);
        Assert.Equal(0UL, Pending());
    }

    [Theory]
    [InlineData(-1)]
    [InlineData(70)]
    [InlineData(0xffff)]
    public void Vectors_that_do_not_exist_are_ignored(int vector)
    {
        _msix.SetControl(Enable);
        _msix.Trigger(vector);
        Assert.Equal((0UL, 0UL), (Pending(), Pending(8)));
    }

    [Fact]
    public void Writes_of_8_bytes_and_across_entries_are_taken()
    {
        _msix.SetControl(Enable);
        _msix.WriteTable(0, BitConverter.GetBytes(0xfee0_1000UL));
        _msix.WriteTable(8, BitConverter.GetBytes(0x0000_0000_0000_0055UL));
        Assert.Equal((0xfee0_1000UL, 0x55u, false), (_vectors[0].Address, _vectors[0].Data, _vectors[0].Masked));
        _msix.WriteTable(12 + 16, BitConverter.GetBytes(0x1234_0000_0000UL));        // control of 1, address of 2
        Assert.Equal(0x1234UL, Table(32, 4));
        Assert.False(_vectors[1].Masked);
        _msix.WriteTable((70 * 16) - 4, BitConverter.GetBytes(0xffff_ffff_ffff_fffeUL));
        Assert.False(_vectors[69].Masked);
        _msix.WriteTable(ulong.MaxValue, [1, 2]);
    }

    [Fact]
    public void A_million_random_accesses_never_trigger_a_masked_vector_nor_allocate()
    {
        var random = new Random(0x11);
        byte[] data = new byte[8];
        Assert.Equal(0, Allocations.Least(() =>
        {
            for (int i = 0; i < 1_000_000; i++)
            {
                int width = random.Next(1, 9);
                random.NextBytes(data);
                switch (random.Next(6))
                {
                    case 0:
                        _msix.ReadTable((ulong)random.Next(1200), data.AsSpan(0, width));
                        break;
                    case 1:
                        _msix.ReadPending((ulong)random.Next(20), data.AsSpan(0, width));
                        break;
                    case 2 or 3:
                        _msix.WriteTable((ulong)random.Next(1200), data.AsSpan(0, width));
                        break;
                    case 4:
                        _msix.Trigger(random.Next(-1, 72));
                        break;
                    default:
                        _msix.SetControl((ushort)(random.Next(4) << 14));
                        break;
                }
            }
        }));
        Assert.Equal(0, _vectors.Sum(v => v.WrongTriggers));
        Assert.True(_vectors.Sum(v => v.Triggers) > 1000);
    }

    /// <summary>Each trigger reaches the guest: as an interrupt of its own, or merged with one that was pending.</summary>
    [Fact]
    public void No_interrupt_is_lost_while_another_thread_masks_and_unmasks()
    {
        Set(0, 0xfee0_0000, 1, 0);
        _msix.SetControl(Enable);
        var device = new Thread(() =>
        {
            for (int i = 0; i < 100_000; i++)
            {
                _msix.Trigger(0);
            }
        });
        device.Start();
        byte[] mask = [1, 0, 0, 0], unmask = [0, 0, 0, 0];
        while (device.IsAlive)
        {
            _msix.WriteTable(12, mask);
            int triggers = _vectors[0].Triggers;
            Assert.Equal(triggers, _vectors[0].Triggers);
            _msix.WriteTable(12, unmask);
        }

        device.Join();
        Assert.Equal(0UL, Pending());
        Assert.Equal(0, _vectors[0].WrongTriggers);
        Assert.True(_vectors[0].Triggers > 0);
    }

    [Fact]
    public void A_shared_line_is_up_while_anyone_holds_it_up()
    {
        var line = new RecordingLine();
        var shared = new SharedInterruptLine(line);
        var a = shared.Connect();
        var b = shared.Connect();
        a.SetLevel(true);
        a.SetLevel(true);
        b.SetLevel(true);
        a.SetLevel(false);
        Assert.True(line.Level);
        a.SetLevel(false);
        Assert.True(line.Level);
        b.SetLevel(false);
        Assert.False(line.Level);
        Assert.Equal(1, line.Rises);
    }

    [Fact]
    public void Interrupt_disable_holds_the_pin_back()
    {
        var line = new RecordingLine();
        var pin = new IntxPin(line);
        pin.SetDisabled(true);
        pin.Raise(1);
        pin.Raise(2);
        Assert.False(line.Level);
        Assert.True(pin.IsRaised);
        pin.SetDisabled(false);
        Assert.True(line.Level);
        Assert.Equal(3, pin.Take());
        Assert.False(line.Level);
        Assert.Equal(0, pin.Take());
    }
}

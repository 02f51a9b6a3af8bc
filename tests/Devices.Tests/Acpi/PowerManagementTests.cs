using Vmm.Devices.Acpi;
using Vmm.Devices.Tests.Legacy;

namespace Vmm.Devices.Tests.Acpi;

public sealed class PowerManagementTests
{
    private const ulong Status = 0, Enable = 2, Control = 4, Timer = 8;
    private const ulong PowerButton = 0x100;

    private readonly RecordingLine _sci = new();
    private readonly RecordingPower _power = new();
    private readonly ManualClock _clock = new(DateTimeOffset.UnixEpoch) { Ticks = 123_456_789 };
    private readonly PowerManagement _pm;

    public PowerManagementTests() => _pm = new PowerManagement(_sci, _power, _clock);

    [Fact]
    public void The_machine_is_in_ACPI_mode_from_the_start()
    {
        Assert.Equal(1UL, _pm.Read(Control, 2));
        _pm.Write(Control, 0, 2);
        Assert.Equal(1UL, _pm.Read(Control, 2));
        Assert.Equal(0UL, _pm.Read(Status, 4));
    }

    [Fact]
    public void The_power_button_raises_SCI_until_its_status_is_cleared()
    {
        _pm.Write(Enable, 0xffff, 2);
        Assert.Equal(0x0721UL, _pm.Read(Enable, 2));
        Assert.True(_pm.PressPowerButton());
        Assert.True(_sci.Level);
        Assert.Equal(PowerButton, _pm.Read(Status, 2));
        _pm.Write(Status, 0xfeff, 2);
        Assert.True(_sci.Level);
        _pm.Write(Status, PowerButton, 2);
        Assert.False(_sci.Level);
        Assert.Equal(0UL, _pm.Read(Status, 2));
    }

    [Fact]
    public void A_press_that_nobody_listens_to_is_kept_and_reported()
    {
        Assert.False(_pm.PressPowerButton());
        Assert.False(_sci.Level);
        _pm.Write(Enable, PowerButton, 2);
        Assert.True(_sci.Level);
        _pm.Write(Enable, 0, 2);
        Assert.False(_sci.Level);
    }

    [Fact]
    public void Only_S5_with_SLP_EN_switches_off()
    {
        for (int type = 0; type < 8; type++)
        {
            _pm.Write(Control, (ulong)(type << 10), 2);
            Assert.Equal((ulong)((type << 10) | 1), _pm.Read(Control, 2));
            Assert.Equal(0, _power.PowerOffs);
            if (type != 5)
            {
                _pm.Write(Control, (ulong)((type << 10) | 0x2000), 2);
            }
        }

        Assert.Equal(0, _power.PowerOffs);
        _pm.Write(Control, (5 << 10) | 0x2000, 2);
        Assert.Equal(1, _power.PowerOffs);
        Assert.Equal((5UL << 10) | 1, _pm.Read(Control, 2));
    }

    [Fact]
    public void Soft_off_also_works_byte_by_byte()
    {
        _pm.Write(Control, 0x01, 1);
        _pm.Write(Control + 1, 0x34, 1);
        Assert.Equal(1, _power.PowerOffs);
    }

    [Fact]
    public void General_events_can_be_enabled_and_do_not_happen_by_themselves()
    {
        _pm.Write(16, 0xffff_ffff, 4);
        Assert.Equal(0xffff_0000UL, _pm.Read(16, 4));
        Assert.False(_sci.Level);
    }

    /// <summary>ACPI 6.5, 4.8.4.1.1: the status is set whether the event is enabled or not, and cleared by writing a 1.</summary>
    [Fact]
    public void A_new_generation_raises_SCI_once_it_is_enabled_until_its_status_is_cleared()
    {
        const ulong Bit = 1 << PowerManagement.GenerationEvent;
        _pm.NotifyNewGeneration();
        Assert.False(_sci.Level);
        Assert.Equal(Bit, _pm.Read(16, 2));
        _pm.Write(18, 0xffff & ~Bit, 2);
        Assert.False(_sci.Level);
        _pm.Write(18, Bit, 1);
        Assert.True(_sci.Level);
        _pm.Write(16, 0xffff & ~Bit, 2);
        Assert.True(_sci.Level);
        _pm.Write(0, 0xffff, 2);
        Assert.True(_sci.Level);
        _pm.Write(16, Bit, 1);
        Assert.False(_sci.Level);
        Assert.Equal(0UL, _pm.Read(16, 2));
        Assert.Equal(1, _sci.Rises);
    }

    [Theory]
    [InlineData(0, 0)]
    [InlineData(1, 3_579_545)]
    [InlineData(4, 14_318_180)]
    [InlineData(5, 17_897_725 - 0x1000000)]
    public void The_timer_counts_at_its_frequency_and_wraps_at_24_bits(int seconds, int expected)
    {
        _clock.Ticks += seconds * 1_000_000_000L;
        Assert.Equal((ulong)expected, _pm.Read(Timer, 4));
        _pm.Write(Timer, 0xffff_ffff, 4);
        Assert.Equal((ulong)expected, _pm.Read(Timer, 4));
        Assert.Equal((byte)(expected >> 16), _pm.Read(Timer + 2));
    }

    [Fact]
    public void The_timer_is_right_after_a_year()
    {
        _clock.Ticks += 366L * 86400 * 1_000_000_000;
        ulong expected = (ulong)((UInt128)(366L * 86400) * 3_579_545 % (1 << 24));
        Assert.Equal(expected, _pm.Read(Timer, 4));
    }

    [Fact]
    public void A_million_random_accesses_neither_throw_nor_allocate() =>
        Assert.Equal(0, _pm.Poke(600, 1_000_000, 22, random =>
        {
            _clock.Ticks += random.Next();
            if (random.Next(10) == 0)
            {
                _pm.PressPowerButton();
            }
        }));
}

using Vmm.Devices.Legacy;

namespace Vmm.Devices.Tests.Legacy;

public sealed class CmosTests
{
    private const ulong GiB = 1UL << 30;

    private readonly ManualClock _clock = new(new DateTimeOffset(2026, 11, 22, 23, 58, 59, TimeSpan.Zero));
    private readonly Cmos _cmos;

    public CmosTests() => _cmos = new Cmos(_clock, 3 * GiB, 3 * GiB);

    private byte Get(byte register)
    {
        _cmos.Write(0, register);
        return _cmos.Read(1);
    }

    private void Put(byte register, byte value)
    {
        _cmos.Write(0, register);
        _cmos.Write(1, value);
    }

    private byte[] Time() => [Get(0), Get(2), Get(4), Get(6), Get(7), Get(8), Get(9), Get(0x32)];

    [Fact]
    public void The_time_is_UTC_in_BCD()
    {
        Assert.Equal([0x59, 0x58, 0x23, 0x01, 0x22, 0x11, 0x26, 0x20], Time());
        Assert.Equal(0x02, Get(0x0b));
        Assert.Equal(0x80, Get(0x0d));
        Assert.Equal(0x00, Get(0x0c));
    }

    [Fact]
    public void In_binary_mode_it_is_binary_at_once()
    {
        Time();
        Put(0x0b, 0x06);
        Assert.Equal([59, 58, 23, 1, 22, 11, 26, 20], Time());
    }

    [Theory]
    [InlineData(0, 0x12)]
    [InlineData(1, 0x01)]
    [InlineData(11, 0x11)]
    [InlineData(12, 0x92)]
    [InlineData(13, 0x81)]
    [InlineData(23, 0x91)]
    public void Twelve_hours_are_marked_in_the_afternoon(int hour, byte expected)
    {
        _clock.Now = new DateTimeOffset(2026, 1, 1, hour, 0, 0, TimeSpan.Zero);
        Put(0x0b, 0x00);
        Assert.Equal(expected, Get(4));
        Put(4, expected);
        Assert.Equal(expected, Get(4));
        Put(0x0b, 0x06);
        Assert.Equal(hour, Get(4));
    }

    [Fact]
    public void Fields_after_the_seconds_belong_to_the_same_moment()
    {
        _clock.Now = new DateTimeOffset(2026, 12, 31, 23, 59, 59, 999, TimeSpan.Zero);
        Assert.Equal(0x59, Get(0));
        _clock.Now += TimeSpan.FromMilliseconds(5);         // a new year begins
        Assert.Equal([0x59, 0x23, 0x31, 0x12, 0x26], new[] { Get(2), Get(4), Get(7), Get(8), Get(9) });
        _clock.Now += TimeSpan.FromMilliseconds(10);
        Assert.Equal(0x27, Get(9));
        Assert.Equal(0x00, Get(0));
    }

    [Fact]
    public void The_update_flag_is_never_set()
    {
        for (int i = 0; i < 1000; i++)
        {
            _clock.Now += TimeSpan.FromMilliseconds(1);
            Assert.Equal(0, Get(0x0a) & 0x80);
        }

        Put(0x0a, 0xff);
        Assert.Equal(0x7f, Get(0x0a));
    }

    [Fact]
    public void The_guest_can_set_the_clock_while_updates_are_stopped()
    {
        Put(0x0b, 0x82);
        byte[] wanted = [0x30, 0x29, 0x08, 0x05, 0x29, 0x02, 0x24, 0x20];
        byte[] registers = [0, 2, 4, 6, 7, 8, 9, 0x32];
        for (int i = 0; i < wanted.Length; i++)
        {
            Put(registers[i], wanted[i]);
        }

        _clock.Now += TimeSpan.FromHours(5);
        Assert.Equal(wanted, Time());
        Put(0x0b, 0x02);
        Assert.Equal(wanted, Time());
        _clock.Now += TimeSpan.FromDays(1);
        Assert.Equal([0x30, 0x29, 0x08, 0x06, 0x01, 0x03, 0x24, 0x20], Time());
    }

    [Fact]
    public void A_single_field_can_be_set_while_it_runs()
    {
        Put(4, 0x05);
        Assert.Equal([0x59, 0x58, 0x05, 0x01, 0x22, 0x11, 0x26, 0x20], Time());
    }

    [Fact]
    public void A_date_that_is_none_is_ignored()
    {
        byte[] before = Time();
        foreach ((byte register, byte value) in new (byte, byte)[] { (8, 0x13), (7, 0x31), (0, 0x60), (4, 0xff), (8, 0) })
        {
            Put(register, value);
            Assert.Equal(before, Time());
        }
    }

    [Theory]
    [InlineData(64, 0, 640, 64512, 768, 0)]
    [InlineData(3072, 3072, 640, 65535, 48896, 49152)]
    [InlineData(8, 0, 640, 7168, 0, 0)]
    [InlineData(1, 0, 640, 0, 0, 0)]
    [InlineData(3072, 16 << 20, 640, 65535, 48896, 0xffffff)]
    public void Memory_sizes_are_where_firmware_looks(
        int below, int above, int conventional, int extended, int above16M, int above4G)
    {
        var cmos = new Cmos(_clock, (ulong)below << 20, (ulong)above << 20);
        int Value(byte register, int bytes)
        {
            int value = 0;
            for (int i = bytes - 1; i >= 0; i--)
            {
                cmos.Write(0, (byte)(register + i));
                value = (value << 8) | cmos.Read(1);
            }

            return value;
        }

        Assert.Equal(conventional, Value(0x15, 2));
        Assert.Equal(extended, Value(0x17, 2));
        Assert.Equal(extended, Value(0x30, 2));
        Assert.Equal(above16M, Value(0x34, 2));
        Assert.Equal(above4G, Value(0x5b, 3));
    }

    [Fact]
    public void Other_bytes_keep_what_is_written_and_the_NMI_bit_is_no_address()
    {
        for (int register = 0x0e; register < 0x80; register++)
        {
            if (register != 0x32)
            {
                Put((byte)(register | 0x80), (byte)(register ^ 0x5a));
            }
        }

        Put(1, 0x11);                                       // alarms
        Put(3, 0x22);
        Put(5, 0x33);
        for (int register = 0x0e; register < 0x80; register++)
        {
            if (register != 0x32)
            {
                Assert.Equal((byte)(register ^ 0x5a), Get((byte)register));
            }
        }

        Assert.Equal((0x11, 0x22, 0x33), (Get(1), Get(3), Get(5)));
    }

    [Fact]
    public void A_word_sets_the_index_and_the_data()
    {
        _cmos.Write(0, 0xab_40UL, 2);
        Assert.Equal(0xab, Get(0x40));
        Assert.Equal(0xffff_ab40UL, _cmos.Read(0, 4));
    }

    [Fact]
    public void A_million_random_accesses_neither_throw_nor_allocate()
    {
        Assert.Equal(0, _cmos.Poke(70, 1_000_000, 3, random => _clock.Now += TimeSpan.FromSeconds(random.Next(100))));
        _clock.Now = DateTimeOffset.MaxValue;
        Assert.Equal(0, _cmos.Poke(71, 100_000, 3));
        _clock.Now = DateTimeOffset.MinValue;
        Assert.Equal(0, _cmos.Poke(72, 100_000, 3));
    }
}

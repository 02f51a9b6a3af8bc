using Vmm.Devices.Pci;

namespace Vmm.Devices.Tests.Pci;

public sealed class PciBarTests
{
    private const int Command = 4, Bar0 = 0x10, Bar2 = 0x18, Bar3 = 0x1c;

    private readonly TestPci _pci = new();
    private readonly TestFunction _one = new("one", 0x4000, 1UL << 33);
    private readonly TestFunction _two = new("two", 0x1000);
    private readonly List<(ulong? From, ulong? To)> _moves = [];

    public PciBarTests()
    {
        _pci.Bus.Add(1, _one);
        _pci.Bus.Add(2, _two);
        _one.Bar.Moved += (from, to) => _moves.Add((from, to));
    }

    [Fact]
    public void Writing_ones_tells_the_size_and_kind()
    {
        foreach (int register in new[] { Bar0, Bar2, Bar3 })
        {
            _pci.Write(1, register, 0xffff_ffff);
        }

        Assert.Equal(0xffff_c000u, _pci.Read(1, Bar0));
        Assert.Equal(0x0000_000cu, _pci.Read(1, Bar2));
        Assert.Equal(0xffff_fffeu, _pci.Read(1, Bar3));
        Assert.Equal(0u, _pci.Read(1, 0x14));
        Assert.Equal(0u, _pci.Read(1, 0x30));               // no ROM
        Assert.Null(_one.Bar.MappedAt);
    }

    [Fact]
    public void A_window_answers_while_memory_decoding_is_on()
    {
        _pci.Write(1, Bar0, 0xc000_0000);
        Assert.Null(_one.Bar.MappedAt);
        _pci.Write(1, Command, 2, 2);
        Assert.Equal(0xc000_0000UL, _one.Bar.MappedAt);
        Assert.Equal(0x11, _pci.ReadMemory(0xc000_3fff));
        Assert.Equal(0xff, _pci.ReadMemory(0xc000_4000));
        _pci.Write(1, Command, 0, 2);
        Assert.Equal(0xff, _pci.ReadMemory(0xc000_0000));
        Assert.Equal([(null, 0xc000_0000UL), (0xc000_0000UL, null)], _moves);
    }

    [Fact]
    public void A_window_moves_with_its_register()
    {
        _pci.Write(1, Bar0, 0xc000_0000);
        _pci.Write(1, Command, 2, 1);
        _pci.Write(1, Bar0, 0xd000_1234);                   // the low bits are not the guest's
        Assert.Equal(0xd000_0000UL, _one.Bar.MappedAt);
        Assert.Equal(0xff, _pci.ReadMemory(0xc000_0000));
        Assert.Equal(0x11, _pci.ReadMemory(0xd000_0000));
        _moves.Clear();
        _pci.Write(1, Bar0, 0xd000_0000);
        _pci.Write(1, 0x3c, 5, 1);
        Assert.Empty(_moves);                               // what stays is left alone
    }

    [Fact]
    public void A_wide_window_can_lie_above_4_GiB()
    {
        _pci.Write(1, Command, 2, 2);
        _pci.Write(1, Bar3, 0x0000_0080);
        Assert.Equal(0x80_0000_0000UL, _one.Bar64!.MappedAt);
        Assert.Equal(0x22, _pci.ReadMemory(0x81_ffff_ffff));
        _pci.Write(1, Bar3, 0xffff_ffff);
        Assert.Equal(0xffff_fffe_0000_0000UL, _one.Bar64.MappedAt);
    }

    [Theory]
    [InlineData(0u)]                                        // address zero means: not assigned
    [InlineData(0x3fff_c000u)]                              // RAM
    [InlineData(0xb000_0000u)]                              // ECAM
    [InlineData(0xb00f_c000u)]
    public void A_window_moved_onto_something_else_is_nowhere_and_that_stays_as_it_was(uint address)
    {
        _pci.Write(1, Bar0, 0xc000_0000);
        _pci.Write(1, Command, 2, 2);
        _pci.Write(1, Bar0, address);
        Assert.Null(_one.Bar.MappedAt);
        Assert.Equal(address, _pci.Read(1, Bar0));
        Assert.Equal(0x5678_1234u, _pci.Read(1, 0));        // ECAM answers
        _pci.Write(1, Bar0, 0xc000_0000);
        Assert.Equal(0xc000_0000UL, _one.Bar.MappedAt);
    }

    [Fact]
    public void Of_two_windows_in_one_place_the_first_stays_and_the_other_follows_when_it_leaves()
    {
        _pci.Write(1, Bar0, 0xc000_0000);
        _pci.Write(1, Command, 2, 2);
        _pci.Write(2, Bar0, 0xc000_2000);
        _pci.Write(2, Command, 2, 2);
        Assert.Null(_two.Bar.MappedAt);
        Assert.Equal(0xc000_0000UL, _one.Bar.MappedAt);
        _pci.Write(1, Command, 0, 2);
        Assert.Equal(0xc000_2000UL, _two.Bar.MappedAt);
    }

    [Fact]
    public void Firmware_places_all_windows_apart_and_turns_them_on()
    {
        _pci.Bus.AssignBars(0xc000_0000, 1UL << 40);
        Assert.Equal(0xc000_0000UL, _one.Bar.MappedAt);
        Assert.Equal(0x2_0000_0000UL, _one.Bar64!.MappedAt);
        Assert.Equal([(null, 0xc000_0000UL)], _moves);
        Assert.Equal(2u, _pci.Read(1, Command, 2));
    }

    [Fact]
    public void Windows_that_do_not_fit_are_an_error()
    {
        var pci = new TestPci();
        for (int slot = 1; slot < 6; slot++)
        {
            pci.Bus.Add(slot, new TestFunction($"f{slot}", 0x10_0000));
        }

        Assert.Throws<InvalidOperationException>(() => pci.Bus.AssignBars(0xc000_0000, 0x40_0000));
        pci.Bus.AssignBars(0xc000_0000, 0x50_0000);
        Assert.Equal(0x50_0000UL, (ulong)pci.Memory.Ranges.ToArray().Where(r => r.Device is Window).Sum(r => (long)r.Length));
    }

    [Theory]
    [InlineData(0, 0x800)]
    [InlineData(0, 0x3000)]
    [InlineData(6, 0x1000)]
    [InlineData(0, 0x1_0000_0000)]
    public void Impossible_windows_are_refused(int index, long size) => Assert.Throws<ArgumentException>(
        () => new PciBar(new PciConfigSpace(default), index, (ulong)size, false, false, new Window("w", 0)));
}

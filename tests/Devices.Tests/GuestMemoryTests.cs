using Vmm.Devices.Memory;
using Vmm.Tests.Shared;

namespace Vmm.Devices.Tests;

public sealed class GuestMemoryTests
{
    private const ulong High = 0x1_0000_0000;

    [Theory]
    [InlineData(0, 1, true)]
    [InlineData(0, 0x2000, true)]
    [InlineData(0, 0x2001, false)]
    [InlineData(0x1fff, 1, true)]
    [InlineData(0x1fff, 2, false)]
    [InlineData(0x2000, 0, false)]
    [InlineData(0x2000, 1, false)]
    [InlineData(High, 0x1000, true)]
    [InlineData(High - 1, 2, false)]
    [InlineData(High + 0xfff, 2, false)]
    [InlineData(0x1000, ulong.MaxValue, false)]
    [InlineData(ulong.MaxValue, 1, false)]
    [InlineData(ulong.MaxValue, ulong.MaxValue, false)]
    public void A_range_is_found_only_when_all_of_it_lies_in_one_region(ulong address, ulong length, bool found)
    {
        using var test = new TestMemory((0, 0x2000), (High, 0x1000));
        Assert.Equal(found, test.Memory.Contains(new GuestAddress(address), length));
    }

    [Fact]
    public void Values_come_back_as_written_little_endian()
    {
        using var test = new TestMemory(0x1000);
        test.Memory.Write(new GuestAddress(0x11), 0x1122334455667788UL);
        Assert.Equal(0x88, test.Memory.Read<byte>(new GuestAddress(0x11)));
        Assert.Equal(0x11223344u, test.Memory.Read<uint>(new GuestAddress(0x15)));
    }

    [Fact]
    public void A_copy_that_does_not_fit_changes_nothing()
    {
        using var test = new TestMemory(0x1000);
        Assert.False(test.Memory.TryWrite(new GuestAddress(0xfff), [1, 2]));
        Assert.Equal(0, test.Memory.Read<byte>(new GuestAddress(0xfff)));
        var error = Assert.Throws<GuestMemoryException>(() => test.Memory.Write(new GuestAddress(0xffd), 1UL));
        Assert.Equal("no guest memory for 8 bytes at 0xffd", error.Message);
    }
}

using Vmm.Devices.Bus;

namespace Vmm.Devices.Tests;

public sealed class AddressBusTests
{
    private sealed class Recorder(string name) : IBusDevice
    {
        public string Name => name;
        public ulong LastOffset { get; private set; }

        public void Read(ulong offset, Span<byte> data)
        {
            LastOffset = offset;
            data[0] = 0x42;
        }

        public void Write(ulong offset, ReadOnlySpan<byte> data) => LastOffset = offset;
    }

    [Fact]
    public void Each_address_reaches_its_device_with_an_offset()
    {
        var bus = new AddressBus("port");
        var devices = Enumerable.Range(0, 20).Select(i => new Recorder($"d{i}")).ToArray();
        foreach (int i in new[] { 7, 3, 19, 0, 12, 1, 2, 4, 5, 6, 8, 9, 10, 11, 13, 14, 15, 16, 17, 18 })
        {
            bus.Add(0x100 + ((ulong)i * 16), 8, devices[i]);
        }

        for (int i = 0; i < 20; i++)
        {
            ulong start = 0x100 + ((ulong)i * 16);
            Assert.Same(devices[i], bus.Find(start)?.Device);
            Assert.Same(devices[i], bus.Find(start + 7)?.Device);
            Assert.Null(bus.Find(start + 8));
        }

        var data = new byte[2];
        Assert.NotNull(bus.Read(0x133, data));
        Assert.Equal(3UL, devices[3].LastOffset);
        Assert.Equal([0x42, 0xff], data);
    }

    [Fact]
    public void Addresses_without_a_device_read_as_ones_and_are_counted()
    {
        var bus = new AddressBus("port");
        var data = new byte[4];
        Assert.Null(bus.Read(0x80, data));
        Assert.Equal([0xff, 0xff, 0xff, 0xff], data);
        Assert.Null(bus.Write(0x80, data));
        Assert.Equal(2, bus.Unclaimed);
    }

    [Theory]
    [InlineData(0x1000, 0x1000)]
    [InlineData(0xfff, 2)]
    [InlineData(0x1fff, 1)]
    [InlineData(0, ulong.MaxValue)]
    [InlineData(0x5000, 0)]
    [InlineData(ulong.MaxValue, 2)]
    public void Ranges_never_overlap_wrap_or_are_empty(ulong start, ulong length)
    {
        var bus = new AddressBus("mmio");
        bus.Add(0x1000, 0x1000, new Recorder("first"));
        Assert.Null(bus.TryAdd(start, length, new Recorder("second")));
    }

    [Fact]
    public void The_last_byte_of_the_address_space_can_be_claimed()
    {
        var bus = new AddressBus("mmio");
        bus.Add(ulong.MaxValue, 1, new Recorder("last"));
        Assert.NotNull(bus.Find(ulong.MaxValue));
        Assert.Null(bus.TryAdd(ulong.MaxValue - 1, 2, new Recorder("again")));
    }

    [Fact]
    public void A_range_can_move()
    {
        var bus = new AddressBus("mmio");
        var device = new Recorder("bar");
        BusRange range = bus.Add(0x1000, 0x100, device);
        bus.Remove(range);
        Assert.Null(bus.Find(0x1000));
        bus.Add(0x9000, 0x100, device);
        Assert.Same(device, bus.Find(0x90ff)?.Device);
    }
}

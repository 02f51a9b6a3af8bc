using Vmm.Devices.Bus;
using Vmm.Devices.Legacy;

namespace Vmm.Devices.Tests.Legacy;

public sealed class SmallPortTests
{
    private readonly RecordingPower _power = new();

    [Fact]
    public void The_exit_port_ends_with_the_byte_written()
    {
        var exit = new DebugExit(_power);
        exit.Write(0, 42);
        exit.Write(0, 0x1234_5678UL, 4);
        exit.Write(1, 7);
        Assert.Equal([42, 0x78], _power.Exits);
        Assert.Equal(0xff, exit.Read(0));
    }

    [Theory]
    [InlineData(0x06, 1)]
    [InlineData(0x0e, 1)]
    [InlineData(0x04, 1)]
    [InlineData(0x02, 0)]
    [InlineData(0x00, 0)]
    [InlineData(0xfb, 0)]
    public void The_reset_port_resets_when_RST_CPU_is_written(byte value, int resets)
    {
        var port = new ResetPort(_power);
        port.Write(0, value);
        Assert.Equal(resets, _power.Resets);
        Assert.Equal(value & 0x0a, port.Read(0));
        port.Write(1, 0x06);
        Assert.Equal(resets, _power.Resets);
    }

    /// <summary>Linux's quick way to A20 reads, sets bit 1, clears bit 0 and writes (arch/x86/boot/a20.c).</summary>
    [Fact]
    public void Port_92_resets_when_INIT_NOW_rises_and_A20_is_always_on()
    {
        var port = new Port92(_power);
        Assert.Equal(2, port.Read(0));
        port.Write(0, (byte)((port.Read(0) | 2) & ~1));
        port.Write(0, 0);
        Assert.Equal((2, 0), (port.Read(0), _power.Resets));
        port.Write(0, 1);
        port.Write(0, 3);
        Assert.Equal((3, 1), (port.Read(0), _power.Resets));
        port.Write(0, 0);
        port.Write(0, 1);
        Assert.Equal(2, _power.Resets);
    }

    [Theory]
    [InlineData(1, new[] { false }, 0)]
    [InlineData(2, new[] { true }, 0)]
    [InlineData(3, new[] { false }, 0)]
    [InlineData(5, new[] { false }, 0)]
    [InlineData(4, new bool[0], 1)]
    [InlineData(0, new bool[0], 0)]
    [InlineData(0xf8, new bool[0], 0)]
    public void Pvpanic_reads_as_its_events_and_takes_them(byte events, bool[] panics, int powerOffs)
    {
        var port = new Pvpanic(_power);
        Assert.Equal(7, port.Read(0));
        port.Write(0, events);
        port.Write(1, 1);
        Assert.Equal(panics, _power.Panics);
        Assert.Equal((powerOffs, 0), (_power.PowerOffs, _power.Resets));
    }

    [Fact]
    public void Fw_cfg_gives_its_items_byte_by_byte_and_zeros_behind_them()
    {
        var device = new FwCfg(0x1_2345_6000, cpus: 3);
        device.SetCommandLine("a b");
        Assert.Equal("QEMU\0\0"u8, Item(0, 6));
        Assert.Equal([1, 0, 0, 0, 0], Item(1, 5));
        Assert.Equal([0x00, 0x60, 0x45, 0x23, 1, 0, 0, 0, 0], Item(3, 9));
        Assert.Equal([3, 0, 0], Item(5, 3));
        Assert.Equal([3, 0, 0], Item(0x0f, 3));
        Assert.Equal([4, 0, 0, 0], Item(0x14, 4));
        Assert.Equal("a b\0\0"u8, Item(0x15, 5));
        Assert.Equal([0, 0, 0, 0], Item(0x19, 4));
        Assert.Equal([0, 0], Item(0x8000, 2));
        Assert.Equal([0, 0], Item(0xffff, 2));

        // Only a write of 16 bits to the selector chooses; nothing else changes anything.
        Item(0, 1);
        device.Write(0, 5);
        device.Write(1, 5UL, 2);
        device.Write(0, 5UL, 4);
        Assert.Equal((byte)'E', device.Read(1));
        Assert.Equal(0xff, device.Read(0));

        byte[] Item(ushort key, int count)
        {
            device.Write(0, key, 2);
            return [.. Enumerable.Range(0, count).Select(_ => device.Read(1))];
        }
    }

    [Fact]
    public void Named_ports_read_as_ones_and_fit_beside_the_real_devices()
    {
        var ports = new AddressBus("port");
        NullPort.AddAll(ports);
        var controller = new I8042(_power);
        ports.Add(I8042.DataPortNumber, 1, controller.DataPort);
        ports.Add(I8042.CommandPortNumber, 1, controller.CommandPort);
        ports.Add(Cmos.Port, Cmos.PortCount, new Cmos(TimeProvider.System, 1 << 20, 0));
        ports.Add(DebugExit.Port, 1, new DebugExit(_power));
        ports.Add(ResetPort.Port, 1, new ResetPort(_power));
        ports.Add(Port92.Port, 1, new Port92(_power));
        ports.Add(Pvpanic.Port, 1, new Pvpanic(_power));
        ports.Add(FwCfg.Port, FwCfg.PortCount, new FwCfg(1 << 20, 1));
        ports.Add(
            Serial16550.Com1Port, Serial16550.PortCount,
            new Serial16550("COM1", new LimitedOutput(), new RecordingLine()));

        byte[] data = new byte[2];
        Assert.Equal("post", ports.Read(0x80, data)?.Device.Name);
        Assert.Equal([0xff, 0xff], data);
        Assert.Equal("delay", ports.Write(0xed, data)?.Device.Name);
        Assert.Equal("COM2", ports.Read(0x2fd, data)?.Device.Name);
    }
}

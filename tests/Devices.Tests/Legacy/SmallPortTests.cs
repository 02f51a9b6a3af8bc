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

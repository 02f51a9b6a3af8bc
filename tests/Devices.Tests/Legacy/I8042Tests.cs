using Vmm.Devices.Legacy;

namespace Vmm.Devices.Tests.Legacy;

public sealed class I8042Tests
{
    private const byte OutputFull = 0x01, InputFull = 0x02;

    private readonly RecordingPower _power = new();
    private readonly I8042 _controller;

    public I8042Tests() => _controller = new I8042(_power);

    private byte Status => _controller.CommandPort.Read(0);
    private byte Data => _controller.DataPort.Read(0);
    private void Command(byte value) => _controller.CommandPort.Write(0, value);
    private void Send(byte value) => _controller.DataPort.Write(0, value);

    [Fact]
    public void It_is_there_and_has_nothing_to_say()
    {
        Assert.Equal(0x14, Status);
        Assert.Equal(0, Status & (OutputFull | InputFull));
    }

    [Fact]
    public void The_self_test_passes()
    {
        Command(0xaa);
        Assert.Equal(OutputFull, Status & OutputFull);
        Assert.Equal(0x55, Data);
        Assert.Equal(0, Status & OutputFull);
    }

    [Fact]
    public void Only_the_pulse_of_the_reset_line_resets()
    {
        for (int command = 0; command < 256; command++)
        {
            int before = _power.Resets;
            Command((byte)command);
            bool expected = command >= 0xf0 && command % 2 == 0;
            Assert.Equal(before + (expected ? 1 : 0), _power.Resets);
        }
    }

    [Fact]
    public void The_output_port_resets_too()
    {
        Command(0xd1);
        Send(0xdf);                                         // A20 on
        Assert.Equal(0, _power.Resets);
        Command(0xd1);
        Send(0xfe);
        Assert.Equal(1, _power.Resets);
    }

    [Fact]
    public void The_command_byte_is_kept()
    {
        Command(0x20);
        Assert.Equal(0x74, Data);
        Command(0x60);
        Send(0x65);
        Command(0x20);
        Assert.Equal(0x65, Data);
        Assert.Equal(0, Status & OutputFull);
    }

    /// <summary>i8042_check_aux of Linux 6.1: no 500 ms of waiting, and no port found.</summary>
    [Fact]
    public void There_is_no_aux_port_and_that_is_answered_at_once()
    {
        Command(0xd3);
        Send(0x5a);
        Assert.Equal(OutputFull, Status & (OutputFull | 0x20));     // an answer that does not come from the aux port
        Assert.NotEqual(0x5a, Data);
        Command(0xa9);
        Assert.Equal(OutputFull, Status & OutputFull);
        Assert.Equal(0x01, Data);
    }

    [Fact]
    public void What_is_sent_to_the_missing_keyboard_comes_back_as_a_timeout()
    {
        Send(0xf2);
        Assert.Equal(0xfe, Data);
        Command(0x60);
        Send(0x01);
        Send(0xf2);
        Assert.Equal(0x41, Status & 0x41);
        Assert.Equal(0xfe, Data);
        Assert.Equal(0, Status & 0x41);
    }

    [Fact]
    public void A_million_random_accesses_neither_throw_nor_allocate()
    {
        Assert.Equal(0, _controller.DataPort.Poke(60, 500_000, 3));
        Assert.Equal(0, _controller.CommandPort.Poke(64, 500_000, 3));
    }

    [Fact]
    public void Registers_have_names()
    {
        Assert.Equal("Command", _controller.CommandPort.RegisterName(0, write: true));
        Assert.Equal("Status", _controller.CommandPort.RegisterName(0, write: false));
        Assert.Equal("Data", _controller.DataPort.RegisterName(0, write: false));
    }
}

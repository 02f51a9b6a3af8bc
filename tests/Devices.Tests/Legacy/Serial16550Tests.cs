using System.Text;
using FsCheck;
using FsCheck.Fluent;
using Vmm.Devices.Bus;
using Vmm.Devices.Legacy;

namespace Vmm.Devices.Tests.Legacy;

public sealed partial class Serial16550Tests
{
    private const int RbrThr = 0, Ier = 1, IirFcr = 2, Lcr = 3, Mcr = 4, Lsr = 5, Msr = 6, Scr = 7;
    private const byte Received = 0x01, TransmitterEmpty = 0x02, LineStatus = 0x04, ModemStatus = 0x08;

    private readonly LimitedOutput _output = new();
    private readonly RecordingLine _line = new();
    private readonly Serial16550 _port;

    public Serial16550Tests() => _port = new Serial16550("COM1", _output, _line);

    [Fact]
    public void After_reset_it_is_idle_with_the_cable_plugged_in()
    {
        Assert.Equal(0x00, _port.Read(Ier));
        Assert.Equal(0x01, _port.Read(IirFcr));
        Assert.Equal(0x00, _port.Read(Lcr));
        Assert.Equal(0x00, _port.Read(Mcr));
        Assert.Equal(0x60, _port.Read(Lsr));
        Assert.Equal(0xb0, _port.Read(Msr));
        Assert.False(_line.Level);
    }

    [Theory]
    [InlineData(Ier, 0x0f)]
    [InlineData(Lcr, 0xff)]
    [InlineData(Mcr, 0x1f)]
    [InlineData(Scr, 0xff)]
    public void Registers_keep_the_bits_that_they_have(int register, int mask)
    {
        for (int value = 255; value >= 0; value--)
        {
            _port.Write((ulong)register, (byte)value);
            if (register == Lcr)
            {
                Assert.Equal(value, _port.Read(Lcr));
                continue;
            }

            Assert.Equal(value & mask, _port.Read((ulong)register));
        }
    }

    [Fact]
    public void The_divisor_is_behind_DLAB_and_leaves_the_data_alone()
    {
        _port.Write(Lcr, 0x80);
        _port.Write(0, 0x34);
        _port.Write(1, 0x12);
        Assert.Equal((0x34, 0x12), (_port.Read(0), _port.Read(1)));
        _port.Write(Lcr, 0x03);
        Assert.Equal((0, 0), (_port.Read(0), _port.Read(1)));
        Assert.Empty(_output.Bytes);
    }

    [Fact]
    public void A_wide_access_touches_neighbouring_registers_and_stops_at_the_last()
    {
        _port.Write(Mcr, 0x5a_00_00_03UL, 4);               // MCR, LSR, MSR, SCR
        Assert.Equal(0x03, _port.Read(Mcr));
        Assert.Equal(0x5a, _port.Read(Scr));
        Assert.Equal(0x5a_b0_60_03UL, _port.Read(Mcr, 4));
        Assert.Equal(0xffff_ff5aUL, _port.Read(Scr, 4));
        Assert.Equal(0xffUL, _port.Read(ulong.MaxValue, 1));
        _port.Write(8, 1);
    }

    [Fact]
    public void Register_names_follow_DLAB_and_direction()
    {
        Assert.Equal(
            ["RBR", "IER", "IIR", "LCR", "MCR", "LSR", "MSR", "SCR", null],
            Enumerable.Range(0, 9).Select(i => _port.RegisterName((ulong)i, write: false)));
        Assert.Equal(["THR", "IER", "FCR"], Enumerable.Range(0, 3).Select(i => _port.RegisterName((ulong)i, true)));
        _port.Write(Lcr, 0x80);
        Assert.Equal(["DLL", "DLM"], Enumerable.Range(0, 2).Select(i => _port.RegisterName((ulong)i, true)));
    }

    /// <summary>The order of accesses of Linux 6.1, drivers/tty/serial/8250/8250_port.c, with variants probed.</summary>
    [Fact]
    public void Linux_finds_a_16550A()
    {
        _port.Write(Ier, 0);
        Assert.Equal(0, _port.Read(Ier));
        _port.Write(Ier, 0x0f);
        Assert.Equal(0x0f, _port.Read(Ier));
        _port.Write(Ier, 0);

        _port.Write(Mcr, 0x10 | 0x0a);                      // LOOP test
        Assert.Equal(0x90, _port.Read(Msr) & 0xf0);
        _port.Write(Mcr, 0);

        _port.Write(Lcr, 0xbf);
        _port.Write(IirFcr, 0);
        _port.Write(Lcr, 0);
        _port.Write(IirFcr, 0x01);
        Assert.Equal(3, _port.Read(IirFcr) >> 6);

        _port.Write(Lcr, 0x80);                             // no EFR in any place
        Assert.NotEqual(0, _port.Read(IirFcr));
        _port.Write(Lcr, 0xbf);
        Assert.NotEqual(0, _port.Read(IirFcr));

        _port.Write(Lcr, 0);                                // not National's SuperIO
        byte mcr = _port.Read(Mcr);
        _port.Write(Lcr, 0xe0);
        int before = _port.Read(IirFcr) ^ mcr;
        _port.Write(Lcr, 0);
        _port.Write(Mcr, (byte)(mcr ^ 0x10));
        _port.Write(Lcr, 0xe0);
        Assert.Equal(0, before & 0x10);
        Assert.Equal(0, (_port.Read(IirFcr) ^ mcr) & 0x10);
        _port.Write(Lcr, 0);
        _port.Write(Mcr, mcr);

        foreach (byte lcr in new byte[] { 0, 0x80 })        // not a 16750
        {
            _port.Write(Lcr, lcr);
            _port.Write(IirFcr, 0x21);
            Assert.Equal(6, _port.Read(IirFcr) >> 5);
            _port.Write(IirFcr, 0x01);
        }

        _port.Write(Lcr, 0);
        _port.Write(Ier, 0x40);                             // not an XScale
        Assert.Equal(0, _port.Read(Ier));

        Assert.Equal(16, SizeOfFifo());
        Assert.Empty(_output.Bytes);

        // serial8250_do_startup: does THRE come again when its interrupt is turned on again?
        _port.Write(Mcr, 0x08);
        for (int i = 0; i < 2; i++)
        {
            _port.Write(Ier, TransmitterEmpty);
            Assert.Equal(0xc2, _port.Read(IirFcr));
            Assert.Equal(0xc1, _port.Read(IirFcr));
            _port.Write(Ier, 0);
        }
    }

    private int SizeOfFifo()
    {
        _port.Write(Lcr, 0);
        _port.Write(IirFcr, 0x07);
        _port.Write(Mcr, 0x10);
        _port.Write(Lcr, 0x03);
        for (int i = 0; i < 256; i++)
        {
            _port.Write(RbrThr, (byte)i);
        }

        int count = 0;
        while (count < 256 && (_port.Read(Lsr) & 0x01) != 0)
        {
            Assert.Equal(count, _port.Read(RbrThr));
            count++;
        }

        _port.Write(Mcr, 0);
        return count;
    }

    [Fact]
    public void Loopback_turns_modem_outputs_into_inputs_and_shows_what_changed()
    {
        int[] expected = [0x00, 0x20, 0x10, 0x30, 0x40, 0x60, 0x50, 0x70, 0x80, 0xa0, 0x90, 0xb0, 0xc0, 0xe0, 0xd0, 0xf0];
        byte lines = 0xb0;
        _port.Write(Ier, ModemStatus);
        for (int outputs = 15; outputs >= 0; outputs--)
        {
            _port.Write(Mcr, (byte)(0x10 | outputs));
            byte now = (byte)expected[outputs];
            int changed = lines ^ now;
            int deltas = ((changed >> 4) & 0x0b) | ((changed & lines & 0x40) >> 4);
            Assert.Equal(deltas != 0, _line.Level);
            Assert.Equal(deltas != 0 ? 0x00 : 0x01, _port.Read(IirFcr));
            Assert.Equal(now | deltas, _port.Read(Msr));
            Assert.False(_line.Level);
            Assert.Equal(now, _port.Read(Msr));
            lines = now;
        }
    }

    [Fact]
    public void Loopback_overruns_like_the_chip_and_leaves_nothing_behind()
    {
        _port.Write(Mcr, 0x10);
        _port.Write(Ier, LineStatus);
        _port.Write(RbrThr, 1);
        Assert.False(_line.Level);
        _port.Write(RbrThr, 2);                             // without FIFOs there is room for one
        Assert.True(_line.Level);
        Assert.Equal(0x06, _port.Read(IirFcr));
        Assert.Equal(0x63, _port.Read(Lsr));
        Assert.Equal(0x61, _port.Read(Lsr));
        _port.Write(IirFcr, 0x01);
        Assert.Equal(0x60, _port.Read(Lsr));
        Assert.Equal(0, _port.Receive([9]));
    }

    [Fact]
    public void Interrupts_are_identified_by_priority()
    {
        _port.Write(IirFcr, 0x01);
        _port.Write(Mcr, 0x10);                             // modem lines change
        _port.Write(Mcr, 0x00);
        _port.Write(Ier, 0x0f);                             // THRE is up
        Assert.True(_port.ReceiveBreak());
        Assert.True(_line.Level);
        Assert.Equal(0xc6, _port.Read(IirFcr));             // line status
        Assert.Equal(0xf1, _port.Read(Lsr));                // DR, break, idle, error in FIFO
        Assert.Equal(0xc4, _port.Read(IirFcr));             // received data, trigger level 1
        Assert.Equal(0, _port.Read(RbrThr));
        Assert.Equal(0xc2, _port.Read(IirFcr));             // transmitter; reading it clears it
        Assert.Equal(0xc0, _port.Read(IirFcr));             // modem status
        Assert.True(_line.Level);
        _port.Read(Msr);
        Assert.Equal(0xc1, _port.Read(IirFcr));
        Assert.False(_line.Level);
    }
}

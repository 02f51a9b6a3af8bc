using System.Text;
using FsCheck;
using FsCheck.Fluent;
using Vmm.Devices.Bus;
using Vmm.Devices.Legacy;

namespace Vmm.Devices.Tests.Legacy;

public sealed partial class Serial16550Tests
{
    [Fact]
    public void A_full_output_holds_the_transmitter_until_it_drained()
    {
        _output.Room = 3;
        _port.Write(IirFcr, 0x01);
        _port.Write(Ier, TransmitterEmpty);
        foreach (byte value in "abcdefgh"u8)
        {
            _port.Write(RbrThr, value);
        }

        Assert.Equal("abc", Encoding.ASCII.GetString([.. _output.Bytes]));
        Assert.Equal(0x00, _port.Read(Lsr));
        Assert.False(_line.Level);
        Assert.Equal(0xc1, _port.Read(IirFcr));

        _output.Room = 2;
        _port.OutputDrained();
        Assert.Equal(0x00, _port.Read(Lsr));
        _output.Room = 100;
        _port.OutputDrained();
        Assert.Equal("abcdefgh", Encoding.ASCII.GetString([.. _output.Bytes]));
        Assert.Equal(0x60, _port.Read(Lsr));
        Assert.True(_line.Level);
        Assert.Equal(0xc2, _port.Read(IirFcr));
        _port.OutputDrained();
        Assert.Equal(0, _port.OutputLost);
    }

    [Fact]
    public void A_guest_that_writes_on_and_on_loses_only_what_is_beyond_the_bound()
    {
        _output.Room = 0;
        for (int i = 0; i < 3000; i++)
        {
            _port.Write(RbrThr, (byte)i);
        }

        Assert.Equal(3000 - 1024, _port.OutputLost);
        _output.Room = 700;
        _port.OutputDrained();
        for (int i = 1024; i < 1024 + 700; i++)             // the ring wraps
        {
            _port.Write(RbrThr, (byte)i);
        }

        _output.Room = 5000;
        _port.OutputDrained();
        Assert.Equal(Enumerable.Range(0, 1724).Select(i => (byte)i), _output.Bytes);
    }

    [Fact]
    public void An_output_that_returns_a_wrong_length_does_no_harm()
    {
        var port = new Serial16550("COM1", new LyingOutput(), _line);
        for (int i = 0; i < 100; i++)
        {
            port.Write(RbrThr, (byte)i);
            port.OutputDrained();
        }
    }

    private sealed class LyingOutput : ISerialOutput
    {
        private int _calls;

        public int Write(ReadOnlySpan<byte> bytes) => _calls++ % 2 == 0 ? -5 : 5000;
    }
}

using System.Text;
using FsCheck;
using FsCheck.Fluent;
using Vmm.Devices.Bus;
using Vmm.Devices.Legacy;

namespace Vmm.Devices.Tests.Legacy;

public sealed partial class Serial16550Tests
{
    [Theory]
    [InlineData(0x01, 1)]
    [InlineData(0x41, 4)]
    [InlineData(0x81, 8)]
    [InlineData(0xc1, 14)]
    public void Below_the_trigger_level_data_is_announced_as_timeout(byte fcr, int level)
    {
        _port.Write(IirFcr, fcr);
        _port.Write(Ier, Received);
        for (int count = 1; count <= 16; count++)
        {
            Assert.Equal(1, _port.Receive([(byte)count]));
            Assert.Equal(count >= level ? 0xc4 : 0xcc, _port.Read(IirFcr));
            Assert.True(_line.Level);
        }

        Assert.Equal(0, _port.Receive([17]));
        for (int count = 1; count <= 16; count++)
        {
            Assert.Equal(count, _port.Read(RbrThr));
        }

        Assert.False(_line.Level);
        Assert.Equal(0x60, _port.Read(Lsr));
        Assert.Equal(0, _port.Read(RbrThr));
    }

    [Fact]
    public void Without_FIFOs_one_byte_is_taken_at_a_time()
    {
        int wakes = 0;
        _port.InputSpaceAvailable += () => wakes++;
        _port.Write(Ier, Received);
        Assert.Equal(1, _port.Receive([1, 2]));
        Assert.Equal(0x04, _port.Read(IirFcr));
        Assert.Equal(0, wakes);
        Assert.Equal(1, _port.Read(RbrThr));
        Assert.Equal(1, wakes);
    }

    [Fact]
    public void The_sender_is_woken_once_all_is_read_and_only_if_it_waits()
    {
        int wakes = 0;
        _port.InputSpaceAvailable += () => wakes++;
        _port.Write(IirFcr, 0x01);
        _port.Write(Ier, Received);
        Assert.Equal(3, _port.Receive([1, 2, 3]));
        for (int i = 0; i < 3; i++)
        {
            _port.Read(RbrThr);
        }

        Assert.Equal(0, wakes);
        Assert.Equal(16, _port.Receive(new byte[20]));
        for (int i = 0; i < 15; i++)
        {
            _port.Read(RbrThr);
        }

        Assert.Equal(0, wakes);
        _port.Read(RbrThr);
        Assert.Equal(1, wakes);
        _port.Read(RbrThr);
        Assert.Equal(1, wakes);
    }

    [Fact]
    public void Nothing_arrives_before_the_guest_listens()
    {
        int wakes = 0;
        _port.InputSpaceAvailable += () => wakes++;
        Assert.Equal(0, _port.Receive([1]));
        Assert.False(_port.ReceiveBreak());
        Assert.Equal(0x60, _port.Read(Lsr));
        _port.Write(Ier, Received);
        Assert.Equal(1, wakes);
        Assert.Equal(1, _port.Receive([1]));
    }

    [Fact]
    public void A_guest_that_polls_is_listening()
    {
        int wakes = 0;
        _port.InputSpaceAvailable += () => wakes++;
        Assert.Equal(0, _port.Receive([7]));
        for (int i = 0; i < 8; i++)
        {
            _port.Read(Lsr);
        }

        Assert.Equal(1, wakes);
        Assert.Equal(1, _port.Receive([7]));
        Assert.Equal(0x61, _port.Read(Lsr));
        Assert.Equal(7, _port.Read(RbrThr));
        Assert.False(_line.Level);
    }

    [Fact]
    public void A_guest_that_waits_to_send_is_not()
    {
        for (int i = 0; i < 100; i++)
        {
            _port.Read(Lsr);
            _port.Write(RbrThr, (byte)i);
        }

        Assert.Equal(0, _port.Receive([7]));
    }

    [Fact]
    public void Resetting_the_FIFO_keeps_input_until_the_driver_is_done()
    {
        _port.Write(IirFcr, 0x01);
        _port.Write(Ier, Received);
        Assert.Equal(4, _port.Receive([1, 2, 3, 4]));
        Assert.Equal(1, _port.Read(RbrThr));

        _port.Write(Ier, 0);                                // as Linux closes and opens the port
        foreach (byte fcr in new byte[] { 0x01, 0x07, 0x00 })
        {
            _port.Write(IirFcr, fcr);
        }

        Assert.Equal(0x60, _port.Read(Lsr));
        Assert.Equal(0, _port.Read(RbrThr));
        _port.Write(Ier, Received);
        _port.Write(IirFcr, 0x01);
        _port.Write(IirFcr, 0x81);
        Assert.Equal([2, 3, 4], Enumerable.Range(0, 3).Select(_ => (int)_port.Read(RbrThr)));
        Assert.Equal(0x60, _port.Read(Lsr));
    }
}

using System.Runtime.InteropServices;
using Vmm.Devices.Virtio;
using Vmm.Devices.Virtio.Vsock;
using Vmm.Tests.Shared;

namespace Vmm.Devices.Tests.Virtio;

public sealed partial class VsockTests
{
    [Fact]
    public void The_host_ends_first_and_the_guest_may_still_send()
    {
        TestDriverVsock guest = Guest();
        guest.Connect(Port);
        FakeVsockPeer program = _host.Last;
        program.Write([1, 2, 3]);
        program.End();
        guest.Offer(4);
        Assert.Equal([1, 2, 3], guest.Expect(VsockOp.Rw).Data);
        Assert.Equal(VsockShutdown.Send, guest.Expect(VsockOp.Shutdown).Header.Flags);
        Assert.Null(guest.Take());
        Assert.False(program.WantsReceive);
        guest.Send(VsockOp.Rw, Port, [4, 5]);
        Assert.Equal([4, 5], program.Taken);
        guest.Send(VsockOp.Shutdown, Port, flags: VsockShutdown.Both);
        guest.Expect(VsockOp.Rst);
        Assert.True(program.IsDisposed);
        Assert.Equal(0, guest.Device.Connections);
    }

    [Fact]
    public void The_guest_ends_first_and_the_host_may_still_send()
    {
        TestDriverVsock guest = Guest();
        guest.Connect(Port);
        guest.Offer(4);
        FakeVsockPeer program = _host.Last;
        program.Room = 1;
        guest.Send(VsockOp.Rw, Port, [4, 5]);
        guest.Send(VsockOp.Shutdown, Port, flags: VsockShutdown.Send);
        Assert.False(program.GuestEnded);                       // one byte is on its way
        program.MakeRoom(1);
        Assert.True(program.GuestEnded);
        program.Write([1, 2, 3]);
        Assert.Equal([1, 2, 3], guest.Expect(VsockOp.Rw).Data);
        guest.Send(VsockOp.Rw, Port, [6]);                      // it said that it would not
        guest.Expect(VsockOp.Rst);
        Assert.Equal([4, 5], program.Taken);
    }

    [Fact]
    public void A_guest_that_receives_no_more_gets_no_more()
    {
        TestDriverVsock guest = Guest();
        guest.Connect(Port);
        _host.Last.Write([1]);                                  // waits for a buffer
        guest.Send(VsockOp.Shutdown, Port, flags: VsockShutdown.Receive);
        guest.Offer(2);
        Assert.Null(guest.Take());
        Assert.False(_host.Last.WantsReceive);
        guest.Send(VsockOp.Shutdown, Port, flags: VsockShutdown.Send);      // both, by now
        guest.Expect(VsockOp.Rst);
    }

    [Fact]
    public void A_program_that_hangs_up_is_heard_to_its_end()
    {
        TestDriverVsock guest = Guest();
        guest.BufAlloc = 100;
        guest.Connect(Port);
        guest.Offer(5);
        FakeVsockPeer program = _host.Last;
        program.Write(Bytes(150));
        program.HasEnded = true;
        program.Connection.HungUp();
        Assert.Equal(100, guest.Expect(VsockOp.Rw).Data.Length);
        guest.Expect(VsockOp.CreditRequest);
        Assert.Equal(VsockShutdown.Receive, guest.Expect(VsockOp.Shutdown).Header.Flags);
        guest.FwdCnt = 100;
        guest.Send(VsockOp.CreditUpdate, Port);
        Assert.Equal(50, guest.Expect(VsockOp.Rw).Data.Length);
        Assert.Equal(VsockShutdown.Both, guest.Expect(VsockOp.Shutdown).Header.Flags);
        guest.Send(VsockOp.Rst, Port);
        Assert.Equal(0, guest.Device.Connections);
        Assert.True(program.IsDisposed);
        Assert.Null(guest.Take());
    }

    [Theory]
    [InlineData(0)]
    [InlineData(50)]
    public void A_guest_out_of_credit_gets_the_hang_up(int left)
    {
        TestDriverVsock guest = Guest();
        guest.BufAlloc = 100;
        guest.Connect(Port);
        guest.Offer(8);
        FakeVsockPeer program = _host.Last;
        program.Write(Bytes(100 + left));
        Assert.Equal(100, guest.Expect(VsockOp.Rw).Data.Length);
        if (left > 0)
        {
            guest.Expect(VsockOp.CreditRequest);
        }

        Assert.Null(guest.Take());
        program.HasEnded = true;
        program.Connection.HungUp();        // and the guest, which may be blocked in a write, never reads
        Assert.Equal(
            left > 0 ? VsockShutdown.Receive : VsockShutdown.Both, guest.Expect(VsockOp.Shutdown).Header.Flags);
        Assert.Null(guest.Take());
        Assert.True(_rig.RunLoop(1000) < 1000, "the loop spins");
        if (left > 0)
        {
            guest.FwdCnt = 100;
            guest.Send(VsockOp.CreditUpdate, Port);
            Assert.Equal(left, guest.Expect(VsockOp.Rw).Data.Length);
            Assert.Equal(VsockShutdown.Both, guest.Expect(VsockOp.Shutdown).Header.Flags);
        }

        guest.Send(VsockOp.Rst, Port);
        Assert.Equal(0, guest.Device.Connections);
    }

    [Fact]
    public void A_guest_out_of_credit_gets_the_end_of_the_stream_after_reading()
    {
        TestDriverVsock guest = Guest();
        guest.BufAlloc = 100;
        guest.Connect(Port);
        guest.Offer(8);
        _host.Last.Write(Bytes(100));
        Assert.Equal(100, guest.Expect(VsockOp.Rw).Data.Length);
        _host.Last.End();
        Assert.Equal(VsockShutdown.Send, guest.Expect(VsockOp.Shutdown).Header.Flags);
        Assert.Null(guest.Take());
    }

    [Fact]
    public void What_is_sent_to_a_program_that_hung_up_is_refused()
    {
        TestDriverVsock guest = Guest();
        guest.Connect(Port);
        guest.Offer(3);
        FakeVsockPeer program = _host.Last;
        program.Room = 0;
        guest.Send(VsockOp.Rw, Port, [1]);
        program.HasEnded = true;
        program.Connection.HungUp();
        guest.Expect(VsockOp.Shutdown);
        guest.Send(VsockOp.Rw, Port, [2]);
        guest.Expect(VsockOp.Rst);
        Assert.Equal(0, guest.Device.Connections);
    }

    [Fact]
    public void The_reader_has_closed_the_output()
    {
        TestDriverVsock guest = Guest();
        guest.Connect(Port);
        guest.Offer(1);
        _host.Last.Room = -1;
        guest.Send(VsockOp.Rw, Port, [1]);
        guest.Expect(VsockOp.Rst);
        Assert.True(_host.Last.IsDisposed);
    }
}

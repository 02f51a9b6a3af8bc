using System.Runtime.InteropServices;
using Vmm.Devices.Virtio;
using Vmm.Devices.Virtio.Vsock;
using Vmm.Tests.Shared;

namespace Vmm.Devices.Tests.Virtio;

public sealed partial class VsockTests : IDisposable
{
    private const uint Port = 5;

    private readonly TestRig _rig = new();
    private readonly FakeVsockHost _host = new();

    public void Dispose() => _rig.Dispose();

    [Fact]
    public void The_header_agrees_with_the_C_compiler()
    {
        CLayout layout = new CLayout("linux/virtio_vsock.h").Struct<VsockHeader>("struct virtio_vsock_hdr");
        Assert.Equal(VsockHeader.Length, Marshal.SizeOf<VsockHeader>());
        foreach ((VsockOp op, string name) in new[]
        {
            (VsockOp.Request, "REQUEST"), (VsockOp.Response, "RESPONSE"), (VsockOp.Rst, "RST"), (VsockOp.Shutdown, "SHUTDOWN"),
            (VsockOp.Rw, "RW"), (VsockOp.CreditUpdate, "CREDIT_UPDATE"), (VsockOp.CreditRequest, "CREDIT_REQUEST"),
        })
        {
            layout.Constant($"VIRTIO_VSOCK_OP_{name}", (ulong)op);
        }

        layout.Constant("VIRTIO_VSOCK_SHUTDOWN_RCV", (ulong)VsockShutdown.Receive)
            .Constant("VIRTIO_VSOCK_SHUTDOWN_SEND", (ulong)VsockShutdown.Send)
            .Judge();
    }

    [Theory]
    [MemberData(nameof(Variant.All), MemberType = typeof(Variant))]
    public void The_guest_connects_and_bytes_pass_both_ways(Variant variant)
    {
        TestDriverVsock guest = Guest(variant);
        Assert.Equal(19u, guest.Driver.Transport.DeviceId);
        Assert.Equal(TestDriverVsock.Cid, guest.Driver.Transport.ReadConfig64(0));
        guest.Offer(1);
        guest.Send(VsockOp.Request, Port);
        VsockHeader answer = guest.Expect(VsockOp.Response).Header;
        Assert.Equal((Port, TestDriverVsock.GuestPort, (ushort)1), (answer.SrcPort, answer.DstPort, answer.Type));
        Assert.Equal(VsockConnection.BufferBytes, answer.BufAlloc);

        byte[] up = Bytes(10_000), down = Bytes(9000);
        guest.Send(guest.Header(VsockOp.Rw, Port, up.Length), up, 1, 43, 44, 45, 5000);
        Assert.Equal(up, _host.Last.Taken);

        _host.Last.Write(down);
        guest.Offer(1, 45);
        guest.Offer(1, 144);
        guest.Offer(4);
        byte[][] parts = [guest.Expect(VsockOp.Rw).Data, guest.Expect(VsockOp.Rw).Data, guest.Expect(VsockOp.Rw).Data,
            guest.Expect(VsockOp.Rw).Data, guest.Expect(VsockOp.Rw).Data];
        Assert.Equal([1, 100, 4096, 4096, 707], parts.Select(part => part.Length));
        Assert.Equal(down, parts.SelectMany(part => part));
        Assert.Equal((1, 10_000, 9000), (guest.Device.Opened, guest.Device.SentBytes, guest.Device.ReceivedBytes));
        Assert.True(_host.Last.WantsReceive);
        Assert.Empty(_rig.Log);
    }

    [Fact]
    public void A_connection_without_a_listener_is_refused()
    {
        TestDriverVsock guest = Guest();
        guest.Offer(4);
        guest.Send(VsockOp.Request, 1000);
        VsockHeader answer = guest.Expect(VsockOp.Rst).Header;
        Assert.Equal((1000u, TestDriverVsock.GuestPort), (answer.SrcPort, answer.DstPort));
        guest.Send(guest.Header(VsockOp.Request, Port) with { Type = 2 });
        Assert.Equal(2, guest.Expect(VsockOp.Rst).Header.Type);         // virtio 1.2, section 5.10.6.4.1: an unknown type
        guest.Send(VsockOp.Rw, Port, [1]);
        guest.Expect(VsockOp.Rst);
        guest.Send(VsockOp.Rst, Port);                                  // not an answer to an answer
        Assert.Null(guest.Take());
        Assert.Empty(_host.Peers);
    }

    [Fact]
    public void A_slow_program_is_waited_for_and_the_guest_is_told_when_there_is_room()
    {
        TestDriverVsock guest = Guest();
        guest.Connect(Port);
        guest.Offer(4);
        FakeVsockPeer program = _host.Last;
        program.Room = 1000;
        byte[] all = Bytes((int)VsockConnection.BufferBytes);
        guest.Send(VsockOp.Rw, Port, all.AsSpan(0, 65536));
        guest.Send(VsockOp.Rw, Port, all.AsSpan(65536));
        Assert.Equal(1000, program.Taken.Count);
        Assert.True(program.WantsSend);
        Assert.Null(guest.Take());
        program.MakeRoom(65000);
        VsockHeader told = guest.Expect(VsockOp.CreditUpdate).Header;
        Assert.Equal((66000u, VsockConnection.BufferBytes), (told.FwdCnt, told.BufAlloc));
        guest.Send(VsockOp.Rw, Port, all.AsSpan(0, 65536));     // the buffer is used from its start again
        program.MakeRoom(int.MaxValue);
        Assert.Equal([.. all, .. all.AsSpan(0, 65536)], program.Taken);
        Assert.False(program.WantsSend);
    }

    [Fact]
    public void No_more_is_sent_than_the_guest_has_credit_for()
    {
        TestDriverVsock guest = Guest();
        guest.BufAlloc = 1000;
        guest.Connect(Port);
        guest.Offer(8);
        byte[] down = Bytes(2500);
        _host.Last.Write(down);
        Assert.Equal(1000, guest.Expect(VsockOp.Rw).Data.Length);
        guest.Expect(VsockOp.CreditRequest);
        Assert.Null(guest.Take());
        Assert.False(_host.Last.WantsReceive);
        guest.FwdCnt = 300;
        guest.Send(VsockOp.CreditUpdate, Port);
        Assert.Equal(down[1000..1300], guest.Expect(VsockOp.Rw).Data);
        guest.Expect(VsockOp.CreditRequest);
        guest.FwdCnt = 1300;
        guest.BufAlloc = 5000;
        guest.Send(VsockOp.Rw, Port, [1]);                      // any packet tells
        Assert.Equal(down[1300..], guest.Expect(VsockOp.Rw).Data);
        Assert.Null(guest.Take());
        Assert.True(_host.Last.WantsReceive);
    }

    [Fact]
    public void A_question_about_credit_is_answered()
    {
        TestDriverVsock guest = Guest();
        guest.Connect(Port);
        guest.Send(VsockOp.Rw, Port, Bytes(7));
        guest.Offer(1);
        guest.Send(VsockOp.CreditRequest, Port);
        Assert.Equal(7u, guest.Expect(VsockOp.CreditUpdate).Header.FwdCnt);
    }

    [Fact]
    public void A_program_of_the_host_connects()
    {
        TestDriverVsock guest = Guest();
        var first = new FakeVsockPeer();
        var second = new FakeVsockPeer();
        Assert.True(_host.Device.Connect(first, TestDriverVsock.GuestPort));
        Assert.True(_host.Device.Connect(second, TestDriverVsock.GuestPort));
        guest.Offer(4);
        VsockHeader asked = guest.Expect(VsockOp.Request).Header;
        VsockHeader askedToo = guest.Expect(VsockOp.Request).Header;
        Assert.Equal(TestDriverVsock.GuestPort, asked.DstPort);
        Assert.NotEqual(asked.SrcPort, askedToo.SrcPort);
        Assert.Null(first.AcceptedPort);
        Assert.False(first.WantsReceive);
        guest.Send(VsockOp.Response, asked.SrcPort);
        guest.Send(VsockOp.Rst, askedToo.SrcPort);
        Assert.Equal(asked.SrcPort, first.AcceptedPort);
        Assert.True(second.IsDisposed);
        first.Write([1]);
        Assert.Equal([1], guest.Expect(VsockOp.Rw).Data);
        guest.Send(VsockOp.Response, asked.SrcPort);            // twice
        guest.Expect(VsockOp.Rst);
        Assert.True(first.IsDisposed);
    }

    [Fact]
    public void A_program_that_leaves_before_the_guest_answers_is_taken_back()
    {
        TestDriverVsock guest = Guest();
        var program = new FakeVsockPeer();
        Assert.True(_host.Device.Connect(program, TestDriverVsock.GuestPort));
        guest.Offer(2);
        uint port = guest.Expect(VsockOp.Request).Header.SrcPort;
        program.Connection.HungUp();
        Assert.Equal(port, guest.Expect(VsockOp.Rst).Header.SrcPort);
        Assert.True(program.IsDisposed);
    }

    [Fact]
    public void Without_a_driver_connections_fail_and_a_reset_ends_all()
    {
        TestDriverVsock guest = Guest();
        guest.Connect(Port);
        guest.Driver.Transport.Status = 0;
        Assert.True(_host.Last.IsDisposed);
        Assert.Equal(0, guest.Device.Connections);
        Assert.False(_host.Device.Connect(new FakeVsockPeer(), 1));
        _host.Last.Connection.ReceiveReady();                   // an event that was on its way
        _host.Last.Connection.SendReady();
        _host.Last.Connection.HungUp();
    }

    [Fact]
    public void All_take_their_turn()
    {
        TestDriverVsock guest = Guest();
        foreach (uint port in (uint[])[1, 2, 3])
        {
            guest.Connect(port);
        }

        foreach (FakeVsockPeer program in _host.Peers)
        {
            program.Write(Bytes(10_000));
        }

        guest.Offer(6, 1044);
        uint[] ports = [.. Enumerable.Range(0, 6).Select(_ => guest.Expect(VsockOp.Rw).Header.SrcPort)];
        Assert.Equal([1, 2, 3, 1, 2, 3], ports);
    }

    [Fact]
    public void Bytes_in_either_direction_allocate_nothing()
    {
        TestDriverVsock guest = Guest();
        guest.BufAlloc = 1 << 30;
        guest.Connect(Port);
        FakeVsockPeer program = _host.Last;
        program.IsEndless = true;
        byte[] data = Bytes(1000);
        VsockHeader header = guest.Header(VsockOp.Rw, Port, data.Length);
        ulong at = guest.Driver.Allocate(4096);
        _rig.Memory.Write(new Devices.Memory.GuestAddress(at), (byte[])[.. MemoryMarshal.AsBytes(new ReadOnlySpan<VsockHeader>(in header)), .. data]);
        TestDriverSplit receive = guest.Driver.Split(0), transmit = guest.Driver.Split(1);
        int buffer = receive.Add(new Buffer(at + 2048, 1044, true)), packet = transmit.Add(new Buffer(at, 1044, false));
        program.Connection.ReceiveReady();
        Assert.Equal(0, Allocations.Least(() =>
        {
            for (int i = 0; i < 1000; i++)
            {
                guest.Device.Notify(0);
                guest.Device.Notify(1);
                receive.Offer((ushort)buffer);
                transmit.Offer((ushort)packet);
            }
        }));
        Assert.True(program.Received >= 999_000 && guest.Device.SentBytes >= 999_000);
    }

    private static byte[] Bytes(int count)
    {
        byte[] bytes = new byte[count];
        new Random(count).NextBytes(bytes);
        return bytes;
    }

    private TestDriverVsock Guest(Variant? variant = null) => new(
        _rig, new VirtioVsock("vsock", _host, TestDriverVsock.Cid) { RingFeatures = TestTransports.RingFeatures }, variant ?? Variant.Default);

    /// <summary>The same device under a driver that starts anew, which has all memory to itself again.</summary>
    private TestDriverVsock Guest(TestDriverVsock before)
    {
        before.Driver.Transport.Status = 0;
        return new TestDriverVsock(_rig, before);
    }
}

using Vmm.Devices.Virtio;
using Vmm.Devices.Virtio.Vsock;

namespace Vmm.Devices.Tests.Virtio;

/// <summary>What a hostile guest can do with packets, buffers and connections (HostileGuest.md).</summary>
public sealed partial class VsockTests
{
    [Fact]
    public void A_packet_that_is_not_from_this_guest_to_the_host_is_dropped()
    {
        TestDriverVsock guest = Guest();
        guest.Connect(Port);
        guest.Offer(4);
        guest.Send(guest.Header(VsockOp.Rw, Port, 1) with { SrcCid = 4 }, [1]);
        guest.Send(guest.Header(VsockOp.Rw, Port, 1) with { DstCid = 1 }, [1]);
        Assert.Null(guest.Take());
        Assert.Empty(_host.Last.Taken);
        guest.Send(guest.Header(VsockOp.Rw, Port, 2), [1, 2, 3]);       // shorter: the rest is not its own
        Assert.Equal([1, 2], _host.Last.Taken);
    }

    [Fact]
    public void A_guest_that_sends_more_than_its_credit_loses_the_connection()
    {
        TestDriverVsock guest = Guest();
        guest.Connect(Port);
        guest.Offer(4);
        _host.Last.Room = 0;
        guest.Send(VsockOp.Rw, Port, Bytes(65536));
        guest.Send(VsockOp.Rw, Port, Bytes(65536));
        Assert.False(_host.Last.IsDisposed);
        guest.Send(VsockOp.Rw, Port, [1]);
        guest.Expect(VsockOp.Rst);
        Assert.True(_host.Last.IsDisposed);
        Assert.Equal(0, guest.Device.Connections);
    }

    [Fact]
    public void Nonsense_about_credit_gets_the_guest_no_more_than_it_claims_to_have()
    {
        TestDriverVsock guest = Guest();
        (guest.BufAlloc, guest.FwdCnt) = (10, 0x8000_0000);
        guest.Connect(Port);
        guest.Offer(4);
        _host.Last.Write(Bytes(100));
        guest.Expect(VsockOp.CreditRequest);
        (guest.BufAlloc, guest.FwdCnt) = (uint.MaxValue, 0xffff_ffff);
        guest.Send(VsockOp.CreditUpdate, Port);
        Assert.Equal(100, guest.Expect(VsockOp.Rw).Data.Length);
    }

    [Fact]
    public void Answers_wait_for_buffers_and_packets_wait_when_there_are_too_many()
    {
        const int Requests = 120, Accepted = 20;
        TestDriverVsock guest = Guest();
        for (uint i = 0; i < Requests; i++)
        {
            guest.Send(guest.Header(VsockOp.Request, i % 6 == 0 ? Port : 1000) with { SrcPort = i });
        }

        Assert.True(_rig.RunLoop(1000) < 1000, "the loop spins");
        Assert.InRange(Requests - guest.InFlight, 76, 78);      // then there were 64 refusals
        var seen = new List<(VsockOp Op, uint Port)>();
        for (int i = 0; i < Requests; i++)
        {
            guest.Offer(1, VsockHeader.Length);
            VsockHeader header = guest.Take()!.Value.Header;
            seen.Add((header.Op, header.DstPort));
        }

        Assert.Equal(Enumerable.Range(0, Requests), seen.Select(packet => (int)packet.Port).Order());
        Assert.All(seen, packet => Assert.Equal(packet.Port % 6 == 0 ? VsockOp.Response : VsockOp.Rst, packet.Op));
        Assert.Equal(Accepted, guest.Device.Connections);
        guest.Reap();
        Assert.Equal(0, guest.InFlight);
    }

    [Fact]
    public void There_is_an_end_to_connections()
    {
        TestDriverVsock guest = Guest();
        for (uint i = 0; i <= VirtioVsock.MostConnections; i++)
        {
            guest.Offer(1, 64);
            guest.Send(guest.Header(VsockOp.Request, Port) with { SrcPort = i });
            guest.Expect(i < VirtioVsock.MostConnections ? VsockOp.Response : VsockOp.Rst);
        }

        Assert.False(_host.Device.Connect(new FakeVsockPeer(), 1));
        Assert.Equal(VirtioVsock.MostConnections, _host.Peers.Count);
    }

    [Fact]
    public void Connections_that_come_and_go_without_buffers_leave_nothing()
    {
        TestDriverVsock guest = Guest();
        for (uint i = 0; i < 10_000; i++)
        {
            guest.Send(guest.Header(VsockOp.Request, Port) with { SrcPort = i });
            guest.Send(guest.Header(VsockOp.Rst, Port) with { SrcPort = i });
            Assert.InRange(guest.Device.Waiting, 0, 2 * VirtioVsock.MostConnections);
        }

        Assert.Equal(0, guest.Device.Connections);
        Assert.True(_host.Peers.TrueForAll(peer => peer.IsDisposed));
    }

    [Fact]
    public void Buffers_without_room_for_data_are_used_for_answers_and_spin_nothing()
    {
        TestDriverVsock guest = Guest();
        guest.Connect(Port);
        guest.Offer(20, VsockHeader.Length);
        _host.Last.Write([1, 2, 3]);
        Assert.True(_rig.RunLoop(1000) < 1000, "the loop spins");
        for (int i = 0; i < 20; i++)
        {
            guest.Expect(VsockOp.CreditUpdate);
        }

        guest.Offer(1);
        Assert.Equal([1, 2, 3], guest.Expect(VsockOp.Rw).Data);
    }

    [Fact]
    public void A_receive_buffer_shorter_than_the_header_is_refused()
    {
        TestDriverVsock guest = Guest();
        guest.Offer(1, VsockHeader.Length - 1);
        guest.Send(VsockOp.Request, Port);
        Assert.Contains("shorter than the header", Assert.Single(_rig.Log), StringComparison.Ordinal);
        Assert.NotEqual(0u, guest.Driver.Transport.Status & TestDriver.NeedsReset);
    }

    /// <summary>Packets of any content to connections in any state: nothing throws, nothing spins, nothing grows.</summary>
    [Fact]
    public void Random_packets_do_no_harm()
    {
        const int Packets = 200_000;
        var random = new Random(0x50c7);
        TestDriverVsock guest = Guest();
        Span<byte> data = stackalloc byte[64];
        for (int i = 0; i < Packets; i++)
        {
            random.NextBytes(data);
            VsockHeader header = guest.Header((VsockOp)random.Next(9), (uint)random.Next(990, 1010), random.Next(64)) with
            {
                SrcPort = (uint)random.Next(8),
                Flags = (VsockShutdown)random.Next(5),
                BufAlloc = random.Next(3) switch { 0 => 0, 1 => (uint)random.Next(2000), _ => uint.MaxValue },
                FwdCnt = random.Next(2) == 0 ? 0 : (uint)random.Next(),
            };
            if (random.Next(20) == 0)
            {
                header = header with { Len = (uint)random.Next(64), Type = (ushort)random.Next(4) };
            }

            if (guest.InFlight < TestDriverVsock.Most)
            {
                guest.Send(header, data[..random.Next((int)header.Len, 64)]);
            }

            if (_host.Peers.Count > 0 && random.Next(3) == 0)
            {
                Disturb(random, _host.Peers[random.Next(_host.Peers.Count)]);
            }

            if (random.Next(10) == 0)
            {
                _ = _host.Device.Connect(new FakeVsockPeer(), (uint)random.Next(8));
            }

            if (random.Next(4) == 0 && guest.Offered < TestDriverVsock.Most - 8)
            {
                guest.Offer(random.Next(1, 8), (uint)random.Next(44, 100));
                guest.Reap();
                while (guest.Take() is not null)
                {
                    // nobody reads it
                }
            }

            if (i % 1000 == 999)
            {
                Assert.InRange(guest.Device.Connections, 0, VirtioVsock.MostConnections);
                _host.Peers.RemoveAll(peer => peer.IsDisposed);
                guest = Guest(guest);
            }
        }

        Assert.Empty(_rig.Log);
        guest = Guest(guest);
        guest.Connect(Port);
        guest.Send(VsockOp.Rw, Port, [1, 2]);
        Assert.Equal([1, 2], _host.Last.Taken);
    }

    private static void Disturb(Random random, FakeVsockPeer program)
    {
        if (program.IsDisposed)
        {
            return;
        }

        switch (random.Next(5))
        {
            case 0:
                program.Write([1, 2, 3]);
                break;
            case 1:
                program.Room = random.Next(-1, 50);
                break;
            case 2:
                program.MakeRoom(random.Next(1, 1000));
                break;
            case 3:
                program.End();
                break;
            default:
                program.HasEnded = true;
                program.Connection.HungUp();
                break;
        }
    }
}

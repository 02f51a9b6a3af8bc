using Vmm.Backends.Networks;
using Vmm.Host;
using Vmm.Machines;
using Vmm.Tests.Shared;

namespace Vmm.Tests.Networks;

/// <summary>Two cards, with real rings each, on one socket in the file system.</summary>
public sealed class SocketNetTests : IDisposable
{
    private static readonly byte[] MacA = [2, 0, 0, 0, 0, 1], MacB = [2, 0, 0, 0, 0, 2];

    private readonly string _directory = Directory.CreateTempSubdirectory("vmm-net-").FullName;
    private readonly EventLoop _loop = new();
    private readonly SaidLog _log = new();
    private readonly List<IDisposable> _owned = [];

    private string SocketPath => Path.Combine(_directory, "lan");

    [Fact]
    public void The_first_listens_the_second_connects_and_frames_pass_both_ways()
    {
        (NetStand a, _) = Machine(MacA);
        Assert.False(a.LinkIsUp);
        Assert.True(File.Exists(SocketPath));
        (NetStand b, _) = Machine(MacB);
        Assert.True(b.LinkIsUp);
        a.RunUntil(() => a.LinkIsUp);

        a.Offer(100);
        b.Offer(100);
        foreach (int length in new[] { 14, 60, 1514, 9014 })
        {
            Assert.True(a.Send(Frame(length, MacA)));
            Assert.True(b.Send(Frame(length, MacB)));
            a.Settle();
            Assert.Equal(Frame(length, MacA), b.TakeFrame());
            Assert.Equal(Frame(length, MacB), a.TakeFrame());
        }

        Assert.Equal((4, 14 + 60 + 1514 + 9014), (a.Card.SentFrames, a.Card.SentBytes));
        Assert.Equal((4, 14 + 60 + 1514 + 9014), (a.Card.ReceivedFrames, a.Card.ReceivedBytes));
        Assert.Equal((0, 0), (a.Card.SendDropped, a.Card.ReceiveDropped));
        Assert.Empty(_log.Lines);
    }

    [Fact]
    public void Without_a_peer_frames_are_dropped_and_counted()
    {
        (NetStand a, _) = Machine(MacA);
        Assert.True(a.Send(Frame(60, MacA)));
        Assert.Equal(1, a.Card.SendDropped);
    }

    [Fact]
    public void When_the_first_ends_the_second_listens_and_the_first_comes_back()
    {
        (NetStand a, SocketNet first) = Machine(MacA);
        (NetStand b, SocketNet second) = Machine(MacB);
        a.RunUntil(() => a.LinkIsUp);
        first.Dispose();
        b.RunUntil(() => !b.LinkIsUp && File.Exists(SocketPath));
        (NetStand again, SocketNet third) = Machine(MacA);
        b.RunUntil(() => b.LinkIsUp);
        Assert.True(again.LinkIsUp);
        b.Offer(10);
        again.Send(Frame(60, MacA));
        b.RunUntil(() => b.Card.ReceivedFrames == 1);

        third.Dispose();
        b.RunUntil(() => !b.LinkIsUp);
        Assert.True(File.Exists(SocketPath));
        second.Dispose();
        Assert.False(File.Exists(SocketPath));
    }

    [Fact]
    public void A_socket_that_a_killed_machine_left_is_taken_over()
    {
        using (FileDescriptor dead = UnixSocket.Create())
        {
            Assert.Equal(0, UnixSocket.Listen(dead, SocketPath));
        }

        Assert.True(File.Exists(SocketPath));
        (NetStand a, _) = Machine(MacA);
        (NetStand b, _) = Machine(MacB);
        a.RunUntil(() => a.LinkIsUp && b.LinkIsUp);
    }

    [Fact]
    public void A_third_machine_is_turned_away_with_a_line()
    {
        (NetStand a, _) = Machine(MacA);
        (NetStand b, _) = Machine(MacB);
        a.RunUntil(() => a.LinkIsUp);
        (NetStand c, _) = Machine([2, 0, 0, 0, 0, 3]);
        c.RunUntil(() => !c.LinkIsUp);
        Assert.True(a.LinkIsUp && b.LinkIsUp);
        Assert.Contains("a third machine", Assert.Single(_log.Lines), StringComparison.Ordinal);
    }

    [Fact]
    public void Two_machines_with_the_same_address_are_reported()
    {
        (NetStand a, _) = Machine(MacA);
        (NetStand b, _) = Machine(MacA);
        a.RunUntil(() => a.LinkIsUp);
        a.Offer(10);
        b.Send(Frame(60, MacA));
        b.Send(Frame(60, MacA));
        a.RunUntil(() => a.Card.ReceivedFrames == 2);
        Assert.Contains("both machines have the MAC address 02:00:00:00:00:01", Assert.Single(_log.Lines), StringComparison.Ordinal);
    }

    [Fact]
    public void A_file_that_is_no_socket_is_not_replaced()
    {
        File.WriteAllText(SocketPath, "mine");
        Assert.Contains("is no socket", Refusal(SocketPath), StringComparison.Ordinal);
        Assert.Equal("mine", File.ReadAllText(SocketPath));
        Assert.Contains("no such directory", Refusal(Path.Combine(_directory, "none", "lan")), StringComparison.Ordinal);
        Assert.Contains("107 bytes", Refusal("/tmp/" + new string('x', 200)), StringComparison.Ordinal);
    }

    [Fact]
    public void A_flood_costs_no_allocation_waits_in_the_socket_and_leaves_others_their_turn()
    {
        (NetStand a, _) = Machine(MacA);
        (NetStand b, _) = Machine(MacB);
        a.RunUntil(() => a.LinkIsUp);
        byte[] frame = Frame(1514, MacB);
        a.Offer(256);
        using var other = new EventFd();
        int othersTurns = 0;
        using var watch = new Interest(_loop, other.Number, LibC.EPOLLIN, _ => othersTurns++);
        other.Signal();     // and never drained: always ready
        long taken = 0;
        long Round()
        {
            while (b.Send(frame))
            {
                // until the socket is full
            }

            int turns = othersTurns;
            long allocated = Allocations.Of(() => _loop.Turn(0));
            Assert.Equal(turns + 1, othersTurns);
            while (a.TakeFrame(out ulong buffer) is { } got)
            {
                Assert.Equal(frame.Length, got.Length);
                taken++;
                a.OfferAgain(buffer);
            }

            a.Kick();
            while (b.TrySent())
            {
                // what waited for room
            }

            return allocated;
        }

        for (int round = 0; round < 400; round++)
        {
            Round();
        }

        Assert.True(taken > 10_000, $"{taken} frames");
        Assert.Equal(0, Allocations.Least(Round));
        Assert.Equal((0, 0), (b.Card.SendDropped, a.Card.ReceiveDropped));
    }

    public void Dispose()
    {
        _owned.ForEach(part => part.Dispose());
        _loop.Dispose();
        Directory.Delete(_directory, recursive: true);
    }

    private static byte[] Frame(int length, byte[] from)
    {
        byte[] frame = NetStand.Frame(length);
        from.CopyTo(frame, 6);
        return frame;
    }

    private string Refusal(string path) =>
        Assert.Throws<UsageException>(() => new SocketNet(_loop, path, MacA, _log)).Message;

    private (NetStand Stand, SocketNet Net) Machine(byte[] mac)
    {
        var net = new SocketNet(_loop, SocketPath, mac, _log);
        var stand = new NetStand(_loop, net, mac);
        _owned.Add(net);
        _owned.Add(stand);
        return (stand, net);
    }
}

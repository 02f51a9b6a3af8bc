using System.Buffers.Binary;
using System.Text;
using Vmm.Backends.Agent;
using Vmm.Host;
using Vmm.Run;

namespace Vmm.Tests.Run;

/// <summary>What a guest hears that goes on from a saved state.</summary>
public sealed class FreshIdentityTests : IAgentOwner
{
    private bool _hasArrived;

    [Fact]
    public void The_same_machine_gets_the_time_of_day_and_numbers_of_its_own()
    {
        Dictionary<AgentFrameType, byte[][]> one = Told(FreshIdentity.Same), other = Told(FreshIdentity.Same);
        Assert.Equal([AgentFrameType.Clock, AgentFrameType.Entropy], one.Keys.Order());
        Assert.Equal(64, one[AgentFrameType.Entropy][0].Length);
        Assert.NotEqual(one[AgentFrameType.Entropy][0], other[AgentFrameType.Entropy][0]);
        long seconds = BinaryPrimitives.ReadInt64LittleEndian(one[AgentFrameType.Clock][0]);
        Assert.InRange(seconds, DateTimeOffset.UtcNow.ToUnixTimeSeconds() - 60, DateTimeOffset.UtcNow.ToUnixTimeSeconds());
        Assert.Equal([AgentFrameType.Entropy], Told(FreshIdentity.Same with { SetsClock = false }).Keys);
    }

    [Fact]
    public void A_machine_of_another_name_gets_all_by_which_others_know_it()
    {
        Dictionary<AgentFrameType, byte[][]> one = Told(FreshIdentity.Named("web_1", [])), other = Told(FreshIdentity.Named("web_2", []));
        Assert.Equal([AgentFrameType.Clock, AgentFrameType.Hostname, AgentFrameType.Entropy, AgentFrameType.MachineId], one.Keys.Order());
        Assert.Equal("web-1", Encoding.UTF8.GetString(Assert.Single(one[AgentFrameType.Hostname])));
        Assert.Matches("^[0-9a-f]{32}$", Encoding.ASCII.GetString(Assert.Single(one[AgentFrameType.MachineId])));
        Assert.NotEqual(one[AgentFrameType.MachineId][0], other[AgentFrameType.MachineId][0]);
        Assert.Equal(64, FreshIdentity.Named(new string('a', 70), []).Hostname!.Length);
    }

    [Fact]
    public void A_card_of_another_address_is_told_by_the_old_one()
    {
        byte[] before = [2, 0, 0, 0, 0, 1], now = [2, 0, 0, 0, 0, 2];
        Dictionary<AgentFrameType, byte[][]> told = Told(FreshIdentity.Same with { Cards = [(before, now), (now, before)] });
        Assert.Equal([[.. before, .. now], [.. now, .. before]], told[AgentFrameType.Mac]);
    }

    void IAgentOwner.Arrived(string kernel) => _hasArrived = true;

    void IAgentOwner.Noted(string text) => Assert.Fail(text);

    void IAgentOwner.Failed(string why) => Assert.Fail(why);

    void IAgentOwner.SaidGoodbye() => Assert.Fail("bye");

    private Dictionary<AgentFrameType, byte[][]> Told(FreshIdentity identity)
    {
        using var loop = new EventLoop();
        (FileDescriptor ours, FileDescriptor guest) = UnixSocket.CreatePair();
        using (guest)
        {
            using var session = new AgentSession(this);
            session.Listen(loop, ours, isSerial: false);
            byte[] hello = new byte[AgentFrame.HeaderLength + 8];
            new AgentFrame(AgentFrameType.Hello, 0, 0, 8, 0).Write(hello);
            hello[AgentFrame.HeaderLength] = (byte)AgentProtocol.Version;
            hello[AgentFrame.HeaderLength + 5] = 0x10;
            Write(guest, hello);
            _hasArrived = false;
            while (!_hasArrived)
            {
                loop.Turn(100);
            }

            identity.Send(session);
            session.Flush();
            session.Tell(AgentFrameType.Ping);
            session.Flush();
            var told = new List<(AgentFrameType Type, byte[] Content)>();
            while (told is not [.., (AgentFrameType.Ping, _)])
            {
                byte[] header = Read(guest, AgentFrame.HeaderLength);
                Assert.True(AgentFrame.TryRead(header, out AgentFrame frame));
                told.Add((frame.Type, Read(guest, frame.Length)));
            }

            return told.SkipLast(1).GroupBy(static each => each.Type).ToDictionary(static each => each.Key, static each => each.Select(static one => one.Content).ToArray());
        }
    }

    private static unsafe void Write(FileDescriptor socket, byte[] bytes)
    {
        fixed (byte* start = bytes)
        {
            // SAFETY: the whole array, which is pinned.
            Assert.Equal(bytes.Length, LibC.write(socket.Number, start, bytes.Length));
        }
    }

    private static unsafe byte[] Read(FileDescriptor socket, int length)
    {
        byte[] bytes = new byte[length];
        for (int done = 0; done < length;)
        {
            fixed (byte* start = &bytes[done])
            {
                // SAFETY: what is left of the array, which is pinned.
                int got = (int)LibC.read(socket.Number, start, length - done);
                Assert.True(got > 0);
                done += got;
            }
        }

        return bytes;
    }
}

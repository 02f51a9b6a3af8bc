using System.Text;
using Vmm.Backends.Agent;
using Vmm.Host;

namespace Vmm.Tests.Agent;

public sealed class AgentFrameReaderTests
{
    private ushort _sequence;

    [Fact]
    public void The_check_is_the_one_of_RFC_3720()
    {
        // Appendix B.4: 32 bytes of zeros, 32 of ones; and the usual check value.
        Assert.Equal(0x8a9136aau, Crc32C.Of(new byte[32]));
        Assert.Equal(0x62a8ab43u, Crc32C.Of(Enumerable.Repeat((byte)0xff, 32).ToArray()));
        Assert.Equal(0xe3069283u, Crc32C.Of("123456789"u8));
    }

    [Theory]
    [InlineData(false, 1)]
    [InlineData(false, 7)]
    [InlineData(true, 1)]
    [InlineData(true, 40000)]
    public void Frames_come_out_however_their_bytes_arrive(bool isSerial, int piece)
    {
        byte[] large = [.. Enumerable.Range(0, AgentProtocol.MostContent).Select(i => (byte)(i * 7))];
        byte[][] contents = [[], "hello"u8.ToArray(), large, [1], large];
        byte[] all = [.. contents.SelectMany(content => Frame(content, isSerial))];
        var reader = new AgentFrameReader(isSerial);
        Assert.Equal(contents, Feed(reader, all, piece).Select(each => each.Content));
        Assert.Null(reader.Fault);
        Assert.Equal(0, reader.Skipped);
    }

    [Fact]
    public void On_a_serial_line_what_others_write_is_skipped()
    {
        byte[] all =
        [
            .. "login: \xc5\xc5"u8, .. Frame("one"u8, true), .. Encoding.ASCII.GetBytes("[    1.0] noise\r\n"),
            .. Frame("two"u8, true), 0xc5, .. Frame("three"u8, true),
        ];
        var reader = new AgentFrameReader(isSerial: true);
        Assert.Equal(["one", "two", "three"], Feed(reader, all, 5).Select(each => Encoding.ASCII.GetString(each.Content)));
        Assert.Null(reader.Fault);
    }

    [Fact]
    public void On_a_serial_line_lost_bytes_are_found()
    {
        byte[] content = Frame("some content"u8, true);
        byte[] changed = [.. content];
        changed[^3] ^= 1;
        var reader = new AgentFrameReader(isSerial: true);
        Assert.Empty(Feed(reader, changed, 100));
        Assert.NotNull(reader.Fault);

        _sequence = 0;
        byte[] first = Frame("first"u8, true), _ = Frame("lost"u8, true), third = Frame("third"u8, true);
        reader = new AgentFrameReader(isSerial: true);
        Assert.Single(Feed(reader, [.. first, .. third], 100));
        Assert.NotNull(reader.Fault);
    }

    [Fact]
    public void On_a_socket_anything_else_is_the_end()
    {
        var reader = new AgentFrameReader(isSerial: false);
        Assert.Empty(Feed(reader, Encoding.ASCII.GetBytes("GET / HTTP/1.1\r\n\r\n"), 100));
        Assert.NotNull(reader.Fault);
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void Any_bytes_are_handled(bool isSerial)
    {
        var random = new Random(1);
        for (int round = 0; round < 2000; round++)
        {
            _sequence = 0;
            byte[] bytes = Frame(new byte[random.Next(60)], isSerial);
            for (int i = random.Next(8); i > 0; i--)
            {
                bytes[random.Next(bytes.Length)] = (byte)random.Next(256);
            }

            byte[] noise = new byte[random.Next(200)];
            random.NextBytes(noise);
            var reader = new AgentFrameReader(isSerial);
            foreach ((AgentFrame frame, byte[] content) in Feed(reader, [.. bytes, .. noise, .. bytes], 1 + random.Next(100)))
            {
                Assert.Equal(frame.Length, content.Length);
            }
        }
    }

    [Fact]
    public void Nothing_is_allocated_by_what_a_guest_says()
    {
        byte[] first = Frame(new byte[1000], false), frames = [.. Enumerable.Range(0, 50).SelectMany(_ => Frame(new byte[1000], false))];
        var reader = new AgentFrameReader(isSerial: false);
        Assert.Single(Feed(reader, first, first.Length));       // what the runtime allocates once, it has allocated then
        long before = GC.GetAllocatedBytesForCurrentThread();
        int taken = 0;
        frames.CopyTo(reader.Room);
        reader.Added(frames.Length);
        while (reader.TryTake(out _, out _))
        {
            taken++;
        }

        Assert.Equal(0, GC.GetAllocatedBytesForCurrentThread() - before);
        Assert.Equal(50, taken);
    }

    private byte[] Frame(ReadOnlySpan<byte> content, bool isSerial)
    {
        byte[] frame = new byte[AgentFrame.HeaderLength + content.Length];
        new AgentFrame(AgentFrameType.Note, _sequence++, 0, content.Length, isSerial ? Crc32C.Of(content) : 0).Write(frame);
        content.CopyTo(frame.AsSpan(AgentFrame.HeaderLength));
        return frame;
    }

    private static List<(AgentFrame Frame, byte[] Content)> Feed(AgentFrameReader reader, ReadOnlySpan<byte> bytes, int piece)
    {
        var taken = new List<(AgentFrame, byte[])>();
        while (!bytes.IsEmpty && reader.Fault is null)
        {
            int length = Math.Min(Math.Min(piece, bytes.Length), reader.Room.Length);
            Assert.NotEqual(0, length);
            bytes[..length].CopyTo(reader.Room);
            reader.Added(length);
            bytes = bytes[length..];
            while (reader.TryTake(out AgentFrame frame, out ReadOnlySpan<byte> content))
            {
                taken.Add((frame, content.ToArray()));
            }
        }

        return taken;
    }
}

using System.Text;
using System.Text.Json;
using Tmds.Linux;
using Vmm.Backends.Console;
using Vmm.Control;
using Vmm.Devices.Legacy;
using Vmm.Host;
using Vmm.Run.Exec;

namespace Vmm.Tests.Control;

/// <summary>Streams over a control connection: a console without a machine, and the keys that leave it.</summary>
public sealed class StreamTests : IDisposable
{
    private readonly EventLoop _loop = new();
    private readonly ControlConnection _machine;
    private readonly ConnectedSocket _client;
    private readonly FileDescriptor _theirs;
    private readonly List<string> _lines = [];
    private string _unread = "";

    public StreamTests()
    {
        (FileDescriptor ours, _theirs) = UnixSocket.CreatePair();
        _machine = new ControlConnection(_loop, ours, Hear, static _ => { });
        Assert.Equal(0, LibC.fcntl(_theirs.Number, LibC.F_SETFL, LibC.O_RDWR | LibC.O_NONBLOCK));
        _client = new ConnectedSocket(_theirs);
    }

    public void Dispose()
    {
        _machine.Dispose();
        _client.Dispose();
        _loop.Dispose();
    }

    [Fact]
    public void A_console_is_heard_and_typed_to()
    {
        var port = new FakePort();
        var tape = new ConsoleTape(_loop);
        tape.Sent("before "u8);
        var console = new ConsoleStream(_loop, tape, port, static (_, _) => false, _machine, replay: true);
        console.Pump();
        tape.Sent("after"u8);
        Assert.Equal("before after", Output(12));
        Say("input", new InputArguments(console.Number, "typed"u8.ToArray()), ControlJson.Default.InputArguments);
        Turn();
        Assert.Equal("typ", port.Taken);        // it takes three at a time
        port.Ask();
        Turn();
        Assert.Equal("typed", port.Taken);
        Assert.Contains(_lines, static line => line == """{"event":"credit","stream":1,"bytes":5}""");
        Say("resize", new ResizeArguments(console.Number, 5, 5), ControlJson.Default.ResizeArguments);
        Turn();
        Assert.Contains(_lines, static line => line.Contains("a serial console has no size", StringComparison.Ordinal));
        Say("close", new CloseArguments(console.Number), ControlJson.Default.CloseArguments);
        Turn();
        tape.Sent("nobody"u8);
        Turn();
        Assert.DoesNotContain("nobody", Text(1), StringComparison.Ordinal);
        Assert.Null(_machine.Find(console.Number));
    }

    /// <summary>Without credit nothing more is sent, the guest goes on, and the client is told how many bytes it missed.</summary>
    [Fact]
    public void A_client_that_falls_behind_is_told_how_much_it_missed()
    {
        const int Said = 500_000;
        var tape = new ConsoleTape(_loop);
        var console = new ConsoleStream(_loop, tape, new FakePort(), static (_, _) => false, _machine, replay: false);
        byte[] page = Enumerable.Range(0, 1000).Select(static i => (byte)('a' + (i % 26))).ToArray();
        for (int i = 0; i < Said / page.Length; i++)
        {
            tape.Sent(page);
            Turn();
        }

        Assert.Equal(ConsoleStream.OutputWindow, Text(1).Length);
        Say("credit", new CreditArguments(console.Number, 1, ConsoleStream.OutputWindow), ControlJson.Default.CreditArguments);
        Turn();
        long lost = _lines.Where(static line => line.StartsWith("{\"event\":\"lost\"", StringComparison.Ordinal))
            .Sum(static line => JsonElement.Parse(line).GetProperty("bytes").GetInt64());
        Assert.Equal(Said, Text(1).Length + lost);
        Assert.Equal(2 * ConsoleStream.OutputWindow, Text(1).Length);
        Say("credit", new CreditArguments(console.Number, 1, 1 << 30), ControlJson.Default.CreditArguments);
        Turn();
        Assert.Contains(_lines, static line => line.Contains("more credit than there was output", StringComparison.Ordinal));
    }

    /// <summary>The schema requires no more than the program: a machine must not end because a client left the rest out.</summary>
    [Fact]
    public void A_process_is_asked_for_by_its_program_alone()
    {
        const string Request = """{"id":1,"command":"exec","arguments":{"args":["true"]}}""";
        ControlSchema.Check("request", Request);
        ControlRequest request = JsonSerializer.Deserialize(Request, ControlJson.Default.ControlRequest)!;
        Assert.Empty(StreamRequests.Read(request.Arguments, ControlJson.Default.ExecArguments).Env);
    }

    [Theory]
    [InlineData("ab", "ab", false)]
    [InlineData("\u0010\u0011", "", true)]
    [InlineData("a\u0010b", "a\u0010b", false)]
    [InlineData("a\u0010\u0010\u0011b", "a\u0010", true)]
    [InlineData("\u0011", "\u0011", false)]
    public void Ctrl_P_Ctrl_Q_is_found_wherever_it_is_cut(string typed, string expected, bool isOver)
    {
        foreach (int cut in (int[])[1, typed.Length])
        {
            var keys = new DetachKeys();
            var rest = new StringBuilder();
            bool found = false;
            foreach (byte[] part in Encoding.ASCII.GetBytes(typed).Chunk(cut))
            {
                byte[] kept = new byte[part.Length + 1];
                if (!found)
                {
                    found = keys.Filter(part, kept, out int count);
                    rest.Append(Encoding.ASCII.GetString(kept, 0, count));
                }
            }

            Assert.Equal((expected, isOver), (rest.ToString(), found));
        }
    }

    private void Hear(ControlConnection client, ReadOnlyMemory<byte> line)
    {
        ControlRequest request = JsonSerializer.Deserialize(line.Span, ControlJson.Default.ControlRequest)!;
        var answer = new ControlAnswer(client, request.Id);
        try
        {
            Assert.True(StreamRequests.TryDo(client, request, answer));
        }
        catch (ControlException error)
        {
            answer.Fail(error.Code, error.Message);
        }
    }

    private void Say<T>(string command, T arguments, System.Text.Json.Serialization.Metadata.JsonTypeInfo<T> type)
    {
        var request = new ControlRequest { Command = command, Arguments = JsonSerializer.SerializeToElement(arguments, type) };
        byte[] line = [.. JsonSerializer.SerializeToUtf8Bytes(request, ControlJson.Default.ControlRequest), (byte)'\n'];
        Assert.Equal(line.Length, _client.Send(line));
    }

    private void Turn()
    {
        byte[] room = new byte[1 << 16];
        for (bool more = true; more;)
        {
            more = _loop.Turn(0) > 0;
            for (int got; (got = _client.Receive(room)) > 0; more = true)
            {
                _unread += Encoding.UTF8.GetString(room, 0, got);
            }
        }

        string[] lines = _unread.Split('\n');
        _lines.AddRange(lines[..^1]);
        _unread = lines[^1];
        Assert.All(lines[..^1], static line => ControlSchema.Check(line.Contains("\"event\"", StringComparison.Ordinal) ? "event" : "reply", line));
    }

    private string Text(int fd) => string.Concat(_lines
        .Where(line => line.StartsWith($"{{\"event\":\"output\",\"fd\":{fd},", StringComparison.Ordinal))
        .Select(static line => Encoding.UTF8.GetString(JsonElement.Parse(line).GetProperty("data").GetBytesFromBase64())));

    private string Output(int length)
    {
        Turn();
        Assert.Equal(length, Text(1).Length);
        return Text(1);
    }

    private sealed class FakePort : ISerialInput
    {
        private readonly StringBuilder _taken = new();
        private int _room = 3;

        public event Action? InputSpaceAvailable;

        public string Taken => _taken.ToString();

        public int Receive(ReadOnlySpan<byte> bytes)
        {
            int count = Math.Min(_room, bytes.Length);
            _taken.Append(Encoding.ASCII.GetString(bytes[..count]));
            _room -= count;
            return count;
        }

        public void Ask()
        {
            _room = 3;
            InputSpaceAvailable?.Invoke();
        }
    }
}

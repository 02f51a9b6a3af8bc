using System.Net.Sockets;
using System.Text;
using System.Text.Json;
using Vmm.Control;
using Vmm.Host;

namespace Vmm.Tests.Control;

/// <summary>vmm's client, and what may listen at a machine's socket: a machine, something else, or nothing.</summary>
public sealed class ControlClientTests : IDisposable
{
    private const string Greeting = """{"protocol":1,"vmm":"9","pid":2,"unknown":[1]}""" + "\n";

    private static readonly TimeSpan Short = TimeSpan.FromMilliseconds(300);

    private readonly string _directory = Directory.CreateTempSubdirectory("vmm-client-").FullName;

    private Socket? _open;      // else the collector would close it

    private string SocketPath => Path.Combine(_directory, "c.sock");

    public void Dispose()
    {
        _open?.Dispose();
        Directory.Delete(_directory, recursive: true);
    }

    [Fact]
    public void Answers_come_back_and_refusals_are_told_by_whose_fault_they_are()
    {
        using var stand = new ControlStand();
        using var client = new ControlClient(stand.Path, "db");
        Assert.Equal(("fake", 1), (client.Greeting.Name, client.Greeting.Pid));
        Assert.Equal("{}", client.Ask("now").GetRawText());
        Assert.Equal("db: nothing: no such command", Assert.Throws<UsageException>(() => client.Ask("nothing")).Message);
        Assert.StartsWith("db: arguments", Assert.Throws<UsageException>(() => client.Ask("need", JsonElement.Parse("{}"))).Message, StringComparison.Ordinal);
        Assert.Equal("{}", client.Ask("need", JsonElement.Parse("""{"disk":1,"bytes":2}""")).GetRawText());
    }

    [Fact]
    public void Events_are_heard_while_an_answer_is_waited_for()
    {
        using var stand = new ControlStand();
        var heard = new List<string>();
        using var client = new ControlClient(stand.Path, "db") { Happened = heard.Add };
        client.Ask("events");
        stand.Target.Tell(new ControlEvent { Event = "state", State = MachineCondition.Paused });
        Thread.Sleep(50);
        client.Ask("now");
        Assert.Equal(["""{"event":"state","state":"paused"}"""], heard);
    }

    [Fact]
    public void What_was_said_to_a_stream_that_had_ended_is_no_answer_to_the_next_request()
    {
        using var stand = new ControlStand();
        using var client = new ControlClient(stand.Path, "db");
        client.Tell("input", JsonElement.Parse("""{"stream":7,"data":""}"""));
        Thread.Sleep(50);
        Assert.Equal("{}", client.Ask("now").GetRawText());
    }

    [Fact]
    public void Nobody_is_there() => Assert.Equal(
        "db: no machine listens there", Assert.Throws<HostException>(() => new ControlClient(SocketPath, "db")).Message);

    [Fact]
    public void A_name_that_is_too_long_for_a_socket_is_told() => Assert.StartsWith(
        "db: ", Assert.Throws<HostException>(() => new ControlClient("/" + new string('x', 10_000), "db")).Message, StringComparison.Ordinal);

    [Fact]
    public void A_file_that_is_no_socket_is_no_machine()
    {
        File.WriteAllText(SocketPath, "");
        Assert.Equal("db: no machine listens there", Assert.Throws<HostException>(() => new ControlClient(SocketPath, "db")).Message);
    }

    [Theory]
    [InlineData("", "db: the machine does not answer")]
    [InlineData("{\"protocol\":1", "db: the machine does not answer")]
    [InlineData("SSH-2.0-OpenSSH_9.2\n", "db: what listens there is no machine of vmm's")]
    [InlineData("{}\n", "db: what listens there is no machine of vmm's")]
    [InlineData("null\n", "db: what listens there is no machine of vmm's")]
    [InlineData("\n", "db: what listens there is no machine of vmm's")]
    [InlineData("{\"protocol\":2,\"vmm\":\"9\\u001b[2J\",\"pid\":1}\n", "db: vmm 9?[2J runs it, which speaks version 2 of the control protocol; this vmm speaks 1")]
    [InlineData("{\"error\":{\"code\":\"busy\",\"message\":\"go\\naway\"}}\n", "db: go?away")]
    [InlineData(Greeting, "db: the machine does not answer")]
    [InlineData(Greeting + "nonsense\n", "db: what listens there is no machine of vmm's")]
    [InlineData(Greeting + "{\"id\":1}\n", "db: what listens there is no machine of vmm's")]
    [InlineData(Greeting + "{\"id\":7,\"result\":{}}\n", "db: the machine does not answer")]
    [InlineData(Greeting + "{\"id\":1,\"error\":{\"code\":\"not-now\",\"message\":\"no\"}}\n", "db: no")]
    public void Whatever_listens_there_the_user_has_one_line(string says, string expected)
    {
        using Socket server = Listen();
        Say(server, says, closes: false);
        Assert.Equal(expected, Assert.Throws<HostException>(() =>
        {
            using var client = new ControlClient(SocketPath, "db", Short);
            client.Ask("status");
        }).Message);
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void Lines_without_an_end_and_answers_without_an_end_are_not_waited_for(bool hasLines)
    {
        using Socket server = Listen();
        var talker = new Thread(() =>
        {
            using Socket client = server.Accept();
            byte[] much = Encoding.UTF8.GetBytes(hasLines ? "{\"event\":\"state\"}\n" : new string('x', 4000));
            try
            {
                client.Send(Encoding.UTF8.GetBytes(Greeting));
                while (true)
                {
                    client.Send(much);
                }
            }
            catch (SocketException)
            {
            }
        });
        talker.Start();
        Assert.Equal(
            hasLines ? "db: the machine does not answer" : "db: what listens there is no machine of vmm's",
            Assert.Throws<HostException>(() =>
            {
                using var client = new ControlClient(SocketPath, "db", hasLines ? Short : ControlClient.DefaultPatience);
                client.Ask("status");
            }).Message);
        talker.Join();
    }

    [Fact]
    public void A_machine_that_ends_meanwhile_is_told()
    {
        using Socket server = Listen();
        Say(server, Greeting, closes: true);
        using var client = new ControlClient(SocketPath, "db");
        Assert.Equal("db: the machine has ended", Assert.Throws<HostException>(() => client.Ask("status")).Message);
    }

    /// <summary>To the one who comes.</summary>
    private void Say(Socket server, string text, bool closes) => new Thread(() =>
    {
        Socket client = server.Accept();
        _open = client;
        client.Send(Encoding.UTF8.GetBytes(text));
        if (closes)
        {
            client.Dispose();
        }
    }).Start();

    private Socket Listen()
    {
        var server = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
        server.Bind(new UnixDomainSocketEndPoint(SocketPath));
        server.Listen();
        return server;
    }
}

using System.Diagnostics;
using System.Net.Sockets;
using System.Text;
using Vmm.Control;

namespace Vmm.Tests.Control;

/// <summary>The socket's own side of the protocol, with a target that is no machine.</summary>
public sealed class ControlServerTests : IDisposable
{
    private const string Done = """{"id":1,"result":{}}""";

    private readonly ControlStand _stand = new();

    public void Dispose()
    {
        _stand.Dispose();
        Assert.Null(_stand.Failure);
        Assert.True(_stand.Target.IsDisposed);
    }

    [Theory]
    [InlineData("""{"id":1,"command":"now"}""", Done)]
    [InlineData("""{"id":1,"command":"nothing"}""", """{"id":1,"error":{"code":"unknown-command","message":"nothing: no such command"}}""")]
    [InlineData("""{"id":1,"command":"need"}""", """{"id":1,"error":{"code":"bad-arguments","message":"this command needs arguments"}}""")]
    [InlineData("""{"id":1,"command":"need","arguments":{"disk":0,"bytes":5}}""", Done)]
    [InlineData("""{"id":1,"command":"need","arguments":{"disk":0,"bytes":-5}}""", "arguments.bytes")]
    [InlineData("""{"id":1,"command":"need","arguments":{"disk":0,"bytes":5,"more":1}}""", "bad-arguments")]
    [InlineData("""{"id":1,"command":"need","arguments":[]}""", "bad-arguments")]
    [InlineData("""{"id":1,"command":"input","arguments":{"stream":7,"data":"eA=="}}""", """{"id":1,"error":{"code":"no-stream","message":"stream 7: there is none, or it has ended"}}""")]
    [InlineData("""{"command":"nothing"}""", """{"error":{"code":"unknown-command","message":"nothing: no such command"}}""")]
    [InlineData("""{"id":1,"command":"now","else":2}""", "bad-request")]
    [InlineData("""{"id":-1,"command":"now"}""", "bad-request")]
    [InlineData("""{"id":1}""", "bad-request")]
    [InlineData("""{"id":1,"command":null}""", "bad-request")]
    [InlineData("null", "bad-request")]
    [InlineData("7", "bad-request")]
    [InlineData("{", "bad-request")]
    [InlineData("\u0000\u001b[2J", "bad-request")]
    public void Each_line_has_its_answer(string line, string expected)
    {
        using ControlStand.Client client = _stand.Connect();
        Assert.Equal("""{"protocol":1,"vmm":"0.0.0","pid":1,"name":"fake"}""", client.First);
        string answer = client.Ask(line)!;
        Assert.True(answer.Contains(expected, StringComparison.Ordinal), answer);
        Assert.Equal(Done, client.Ask("""{"id":1,"command":"now"}"""));
    }

    [Fact]
    public void Requests_without_an_id_have_no_reply_and_empty_lines_are_passed_over()
    {
        using ControlStand.Client client = _stand.Connect();
        client.Say("""{"command":"now"}""" + "\n\n\n");
        Assert.Equal(Done, client.Ask("""{"id":1,"command":"now"}"""));
        Assert.Equal(2, _stand.Target.Asked);
    }

    [Fact]
    public void Replies_come_when_they_are_ready()
    {
        using ControlStand.Client client = _stand.Connect();
        client.Say("""{"id":5,"command":"later"}""" + "\n");
        Assert.Equal(Done, client.Ask("""{"id":1,"command":"now"}"""));
        Answer(1);
        Assert.Equal("""{"id":5,"result":{}}""", client.Read());
    }

    [Fact]
    public void A_client_that_says_a_byte_at_a_time_is_heard_and_holds_up_nobody()
    {
        using ControlStand.Client slow = _stand.Connect();
        foreach (char letter in """{"id":1,"command":"now"}""" + "\n")
        {
            slow.Say(letter.ToString());
            using ControlStand.Client other = _stand.Connect();
            Assert.Equal(Done, other.Ask("""{"id":1,"command":"now"}"""));
        }

        Assert.Equal(Done, slow.Read());
    }

    [Fact]
    public void A_line_may_have_65536_bytes_and_no_more()
    {
        const string Front = """{"id":1,"command":"now"}""";
        using ControlStand.Client client = _stand.Connect();
        Assert.Equal(Done, client.Ask(Front.PadRight(65536)));
        string? answer = client.Ask(Front.PadRight(65537));
        Assert.Contains("a line of more than 65536 bytes", answer, StringComparison.Ordinal);
        Assert.Null(client.Read());
    }

    /// <summary>A client that sends and does not read is not read from any more once a buffer is full; nothing is lost, and nobody else
    /// notices.</summary>
    [Fact]
    public void A_client_that_floods_and_does_not_read_is_held_back()
    {
        const int Requests = 100_000;
        byte[] line = Encoding.UTF8.GetBytes("""{"id":1,"command":"now"}""" + "\n");
        using ControlStand.Client flood = _stand.Connect();
        var sender = new Thread(() =>
        {
            for (int i = 0; i < Requests; i++)
            {
                flood.Socket.Send(line);
            }
        });
        sender.Start();
        int before;
        do
        {
            before = _stand.Target.Asked;
            Thread.Sleep(200);
        }
        while (_stand.Target.Asked != before || before == 0);

        // What fits into the buffers of both sides, of sockets and of the connection.
        Assert.InRange(_stand.Target.Asked, 1, Requests - 1);
        using (ControlStand.Client other = _stand.Connect())
        {
            Assert.Equal(Done, other.Ask("""{"id":1,"command":"now"}"""));
        }

        for (int i = 0; i < Requests; i++)
        {
            Assert.Equal(Done, flood.Read());
        }

        sender.Join();
    }

    [Fact]
    public void Requests_without_an_answer_are_limited()
    {
        using ControlStand.Client client = _stand.Connect();
        client.Say(string.Concat(Enumerable.Repeat("""{"id":1,"command":"later"}""" + "\n", 100)));
        Wait(() => _stand.Target.Asked == ControlConnection.MostInFlight);
        Thread.Sleep(100);
        Assert.Equal(ControlConnection.MostInFlight, _stand.Target.Asked);
        for (int done = 0; done < 100; done += ControlConnection.MostInFlight)
        {
            Answer(Math.Min(ControlConnection.MostInFlight, 100 - done));
        }

        for (int i = 0; i < 100; i++)
        {
            Assert.Equal(Done, client.Read());
        }
    }

    [Fact]
    public void A_client_that_lets_events_pile_up_is_cut_off_and_others_hear_them_all()
    {
        const int Events = 30_000;
        using ControlStand.Client deaf = _stand.Connect();
        using ControlStand.Client client = _stand.Connect();
        Assert.Equal(Done, deaf.Ask("""{"id":1,"command":"events"}"""));
        Assert.Equal(Done, client.Ask("""{"id":1,"command":"events"}"""));
        var happened = new ControlEvent { Event = "complaint", Kind = "oops", Text = new string('x', 100) };
        var teller = new Thread(() =>
        {
            for (int i = 0; i < Events; i++)
            {
                _stand.Target.Tell(happened);
                if (i % 100 == 0)
                {
                    Thread.Sleep(1);        // the one that reads is to keep up
                }
            }
        });
        teller.Start();
        for (int i = 0; i < Events; i++)
        {
            Assert.StartsWith("""{"event":"complaint","kind":"oops",""", client.Read(), StringComparison.Ordinal);
        }

        teller.Join();
        int heard = 0;
        while (deaf.Read() is not null)
        {
            heard++;
        }

        Assert.InRange(heard, 1, Events - 1);
    }

    [Fact]
    public void Only_so_many_are_let_in_and_the_next_one_is_told_why()
    {
        var clients = new List<ControlStand.Client>();
        for (int i = 0; i < ControlServer.MostClients; i++)
        {
            clients.Add(_stand.Connect());
        }

        using (ControlStand.Client refused = _stand.Connect())
        {
            Assert.Equal("""{"error":{"code":"busy","message":"16 clients are connected to this machine already"}}""", refused.First);
            Assert.Null(refused.Read());
        }

        clients[3].Dispose();
        clients[3] = ConnectWhenThereIsRoom();
        clients.ForEach(static client => Assert.Equal(Done, client.Ask("""{"id":1,"command":"now"}""")));
        clients.ForEach(static client => client.Dispose());
    }

    [Fact]
    public void A_client_that_says_no_more_has_its_answers_first()
    {
        using ControlStand.Client client = _stand.Connect();
        client.Say("""{"id":1,"command":"later"}""" + "\n");
        client.Socket.Shutdown(SocketShutdown.Send);
        Wait(() => _stand.Target.Asked == 1);
        Answer(1);
        Assert.Equal(Done, client.Read());
        Assert.Null(client.Read());
    }

    [Fact]
    public void What_was_said_by_one_that_went_at_once_is_done()
    {
        using (ControlStand.Client client = _stand.Connect())
        {
            client.Say("""{"command":"now"}""" + "\n");
        }

        Wait(() => _stand.Target.Asked == 1);
    }

    [Fact]
    public void The_last_words_reach_those_who_listen()
    {
        using ControlStand.Client client = _stand.Connect();
        using ControlStand.Client other = _stand.Connect();
        client.Ask("""{"id":1,"command":"events"}""");
        _stand.Server.Finish(ControlEvent.Ended("PoweredOff", 0, "the guest powered off"));
        _stand.Server.Dispose();
        Assert.Equal("""{"event":"ended","kind":"powered-off","code":0,"message":"the guest powered off"}""", client.Read());
        Assert.Null(client.Read());
        Assert.Null(other.Read());
    }

    [Fact]
    public void Whatever_is_said_only_its_own_connection_suffers()
    {
        var random = new Random(16);
        for (int round = 0; round < 200; round++)
        {
            using ControlStand.Client client = _stand.Connect();
            byte[] nonsense = new byte[random.Next(1, 4000)];
            random.NextBytes(nonsense);
            byte[] line = Encoding.UTF8.GetBytes("""{"id":1,"command":"need","arguments":{"disk":0,"bytes":5}}""" + "\n");
            line[random.Next(line.Length)] = (byte)random.Next(256);
            client.Socket.Send(random.Next(2) == 0 ? nonsense : line);
        }

        using ControlStand.Client sane = _stand.Connect();
        Assert.Equal(Done, sane.Ask("""{"id":1,"command":"now"}"""));
    }

    /// <summary>The modes of the file let him in; the kernel says who he is.</summary>
    [OtherUserFact]
    public void Another_user_is_turned_away()
    {
        File.SetUnixFileMode(_stand.Folder, (UnixFileMode)0x1ff);
        File.SetUnixFileMode(_stand.Path, (UnixFileMode)0x1ff);
        const string Program = "use IO::Socket::UNIX; my $s = IO::Socket::UNIX->new(Peer => $ARGV[0]) or die; print <$s>;";
        using Process other = Process.Start(new ProcessStartInfo(
            "setpriv", ["--reuid=65534", "--regid=65534", "--clear-groups", "perl", "-e", Program, _stand.Path])
        { RedirectStandardOutput = true })!;
        Assert.Equal("""{"error":{"code":"forbidden","message":"this machine belongs to another user"}}""" + "\n", other.StandardOutput.ReadToEnd());
        other.WaitForExit();
        using ControlStand.Client mine = _stand.Connect();
        Assert.Equal(Done, mine.Ask("""{"id":1,"command":"now"}"""));
    }

    private static void Wait(Func<bool> condition)
    {
        long end = Environment.TickCount64 + 30_000;
        while (!condition())
        {
            Assert.True(Environment.TickCount64 < end);
            Thread.Sleep(5);
        }
    }

    private ControlStand.Client ConnectWhenThereIsRoom()
    {
        while (true)
        {
            ControlStand.Client client = _stand.Connect();
            if (client.First.Contains("protocol", StringComparison.Ordinal))
            {
                return client;
            }

            client.Dispose();
            Thread.Sleep(5);
        }
    }

    /// <summary>Answers so many that wait, on the loop's thread.</summary>
    private void Answer(int count)
    {
        Wait(() =>
        {
            lock (_stand.Target.Later)
            {
                return _stand.Target.Later.Count >= count;
            }
        });
        _stand.Post(() =>
        {
            ControlAnswer[] answers;
            lock (_stand.Target.Later)
            {
                answers = [.. _stand.Target.Later];
                _stand.Target.Later.Clear();
            }

            foreach (ControlAnswer answer in answers)
            {
                answer.Done();
            }
        });
    }
}

using System.Security.Cryptography;
using System.Text;
using Vmm.Backends.Agent;

namespace Vmm.Tests.Agent;

/// <summary>The agent, without a machine around it: commands, streams, signals, terminals.</summary>
public sealed class AgentTests : IDisposable
{
    private readonly AgentHarness _agent = new();

    public void Dispose() => _agent.Dispose();

    [Fact]
    public void It_is_small_enough_to_come_along_with_every_boot() => Assert.InRange(AgentBinary.Read().Length, 1, 100 << 10);

    [Fact]
    public void It_says_which_kernel_it_found() => Assert.StartsWith("Linux ", _agent.Kernel);

    [Theory]
    [InlineData("true", false, 0)]
    [InlineData("false", false, 1)]
    [InlineData("exit 42", false, 42)]
    [InlineData("exit 255", false, 255)]
    [InlineData("kill -9 $$", true, 9)]
    [InlineData("kill -15 $$", true, 15)]
    public void A_command_ends_as_it_ends(string script, bool bySignal, uint value)
    {
        AgentExit exit = _agent.Run("sh", "-c", script).Exit;
        Assert.Equal((bySignal ? AgentEnding.Signal : AgentEnding.Exit, value), (exit.How, exit.Value));
    }

    [Theory]
    [InlineData("no-such-program", 2)]      // ENOENT
    [InlineData("/no/such/program", 2)]
    [InlineData("", 2)]
    [InlineData("/etc/passwd", 13)]         // EACCES
    [InlineData("/etc", 13)]
    public void What_cannot_run_says_why(string program, uint errno)
    {
        AgentExit exit = _agent.Run(program).Exit;
        Assert.Equal((AgentEnding.Exec, errno), (exit.How, exit.Value));
    }

    [Fact]
    public void A_script_without_an_interpreter_is_the_shells()
    {
        string script = Path.GetTempFileName();
        try
        {
            File.WriteAllText(script, "echo \"$1\"; exit 3\n");
            File.SetUnixFileMode(script, UnixFileMode.UserRead | UnixFileMode.UserExecute);
            (AgentExit exit, AgentHarness.Streams streams) = _agent.Run(script, "a word");
            Assert.Equal((3u, "a word\n"), (exit.Value, streams.OutputText));
        }
        finally
        {
            File.Delete(script);
        }
    }

    [Fact]
    public void Environment_directory_and_user_are_as_asked()
    {
        var command = new AgentCommand
        {
            Arguments = ["sh", "-c", "echo $A; pwd; id -u; id -g; echo $HOME; echo $$ $(ps -o sid= -p $$)"],
            Environment = ["PATH=/usr/bin:/bin", "A=b c"],
            Directory = "/usr",
        };
        string[] lines = _agent.Run(command).Streams.OutputText.Split('\n');
        Assert.Equal(["b c", "/usr"], lines[..2]);
        string[] numbers = lines[5].Split(' ', StringSplitOptions.RemoveEmptyEntries);
        Assert.Equal(numbers[0], numbers[^1]);      // a session of its own
        AgentExit exit = _agent.Run(command with { Directory = "/no/such" }).Exit;
        Assert.Equal((AgentEnding.Directory, 2u), (exit.How, exit.Value));
        exit = _agent.Run(command with { User = "no-such-user" }).Exit;
        Assert.Equal((AgentEnding.User, 3u), (exit.How, exit.Value));
        if (Environment.IsPrivilegedProcess)
        {
            lines = _agent.Run(command with { User = "nobody" }).Streams.OutputText.Split('\n');
            Assert.Equal("65534", lines[2]);
            lines = _agent.Run(command with { User = "1234:5" }).Streams.OutputText.Split('\n');
            Assert.Equal(["1234", "5"], lines[2..4]);
        }
    }

    [Fact]
    public void Streams_are_apart_and_exact()
    {
        byte[] input = new byte[20 << 20];
        new Random(3).NextBytes(input);
        (AgentExit exit, AgentHarness.Streams streams) = _agent.Run(
            new AgentCommand
            {
                Arguments = ["sh", "-c", "tee /dev/fd/3 3>&2 | cat"],
                Environment = ["PATH=/usr/bin:/bin"],
            },
            input);
        Assert.Equal((AgentEnding.Exit, 0u), (exit.How, exit.Value));
        Assert.Equal(SHA256.HashData(input), SHA256.HashData(streams.Output.ToArray()));
        Assert.Equal(SHA256.HashData(input), SHA256.HashData(streams.Error.ToArray()));
    }

    [Fact]
    public void A_large_environment_and_many_arguments_arrive()
    {
        string[] words = [.. Enumerable.Range(0, 2000).Select(i => $"word-{i}-{new string('x', 50)}")];
        (_, AgentHarness.Streams streams) = _agent.Run(
            new AgentCommand
            {
                Arguments = ["sh", "-c", "printf '%s\\n' \"$@\"; printenv LONG | wc -c", "sh", .. words],
                Environment = ["PATH=/usr/bin:/bin", "LONG=" + new string('y', 100_000)],
            });
        Assert.Equal([.. words, "100001", ""], streams.OutputText.Split('\n').Select(line => line.Trim()));
    }

    [Fact]
    public void Words_that_are_not_UTF8_arrive_as_they_are()
    {
        (_, AgentHarness.Streams streams) = _agent.Run(
            new AgentCommand
            {
                Arguments = ["sh", "-c", "printf %s \"$0$A\" | od -An -tx1", "caf\udce9"],
                Environment = ["PATH=/usr/bin:/bin", "A=\udcff"],
            });
        Assert.Equal("63 61 66 e9 ff", streams.OutputText.Trim());
    }

    [Fact]
    public void A_reader_that_sleeps_costs_no_more_than_a_window()
    {
        (AgentProcess process, AgentHarness.Streams streams) = _agent.Start(
            new AgentCommand { Arguments = ["head", "-c", "10000000", "/dev/zero"], Environment = ["PATH=/usr/bin:/bin"] }, reads: false);
        _agent.Wait(() => streams.Output.Length == AgentProtocol.OutputWindow);
        Assert.Equal(7u, _agent.Run("sh", "-c", "exit 7").Exit.Value);     // others go on meanwhile
        Assert.Null(streams.Exit);
        Assert.Equal(AgentProtocol.OutputWindow, streams.Output.Length);
        streams.Reads = true;
        process.Consumed(false, (int)AgentProtocol.OutputWindow);
        _agent.Wait(() => streams.Exit is not null);
        Assert.Equal(10_000_000, streams.Output.Length);
    }

    [Fact]
    public void Unread_input_waits_and_a_closed_input_is_reported()
    {
        byte[] input = new byte[2 << 20];
        (AgentProcess process, AgentHarness.Streams streams) = _agent.Start(
            new AgentCommand { Arguments = ["sh", "-c", "exec <&-; echo closed; sleep 0.1; read x < /dev/zero"], Environment = ["PATH=/usr/bin:/bin"] }, input);
        _agent.Wait(() => streams.HasClosedInput);
        Assert.True(streams.InputDone < input.Length);
        process.Signal(9);
        _agent.Wait(() => streams.Exit is not null);
    }

    [Fact]
    public void A_writer_to_a_closed_stream_gets_SIGPIPE()
    {
        (AgentProcess process, AgentHarness.Streams streams) = _agent.Start(
            new AgentCommand { Arguments = ["yes"], Environment = ["PATH=/usr/bin:/bin"] });
        _agent.Wait(() => streams.Output.Length > 0);
        process.Abandon(isError: false);
        _agent.Wait(() => streams.Exit is not null);
        Assert.Equal((AgentEnding.Signal, 13u), (streams.Exit!.Value.How, streams.Exit.Value.Value));
    }

    [Fact]
    public void What_a_command_leaves_behind_does_not_keep_it()
    {
        (AgentExit exit, AgentHarness.Streams streams) = _agent.Run("sh", "-c", "(sleep 1000; echo late) & echo $!; exit 5");
        Assert.Equal(5u, exit.Value);
        Assert.Equal(0u, _agent.Run("sh", "-c", $"kill -9 {streams.OutputText.Trim()}").Exit.Value);
    }

    [Fact]
    public void Signals_go_to_the_whole_group()
    {
        (AgentProcess process, AgentHarness.Streams streams) = _agent.Start(
            new AgentCommand
            {
                Arguments = ["sh", "-c", "trap 'echo caught; exit 9' INT; echo ready; while :; do sleep 0.05; done"],
                Environment = ["PATH=/usr/bin:/bin"],
            });
        _agent.Wait(() => streams.OutputText == "ready\n");
        process.Signal(2);
        _agent.Wait(() => streams.Exit is not null);
        Assert.Equal((9u, "ready\ncaught\n"), (streams.Exit!.Value.Value, streams.OutputText));
    }

    [Fact]
    public void A_terminal_has_a_size_job_control_and_control_characters()
    {
        (AgentProcess process, AgentHarness.Streams streams) = _agent.Start(
            new AgentCommand
            {
                Arguments = ["sh", "-c", "tty; stty size; echo ready; read line; stty size; echo got $line; cat; echo not reached"],
                Environment = ["PATH=/usr/bin:/bin"],
                Flags = AgentStartFlags.Terminal,
                Rows = 33,
                Columns = 111,
            },
            closesInput: false);
        _agent.Wait(() => streams.OutputText.Contains("ready\r\n", StringComparison.Ordinal));
        Assert.StartsWith("/dev/pts/", streams.OutputText);
        Assert.Contains("33 111\r\n", streams.OutputText, StringComparison.Ordinal);
        process.Resize(44, 122);
        Type(process, "a line\n");
        _agent.Wait(() => streams.OutputText.Contains("44 122\r\ngot a line", StringComparison.Ordinal));

        // cat has to run: dash forgets a Ctrl-C that comes just before it becomes the last command (63 of 300 on any Linux).
        Type(process, "to cat\n");
        _agent.Wait(() => streams.OutputText.Contains("to cat\r\nto cat\r\n", StringComparison.Ordinal));
        Type(process, "\x03");
        _agent.Wait(() => streams.Exit is not null);
        Assert.Equal((AgentEnding.Signal, 2u), (streams.Exit!.Value.How, streams.Exit.Value.Value));
        Assert.DoesNotContain("not reached", streams.OutputText, StringComparison.Ordinal);
    }

    [Fact]
    public void Many_processes_run_side_by_side()
    {
        var all = new List<AgentHarness.Streams>();
        for (int i = 0; i < 16; i++)
        {
            all.Add(_agent.Start(new AgentCommand { Arguments = ["sh", "-c", $"read x; echo {i} $x; exit {i}"], Environment = ["PATH=/usr/bin:/bin"] },
                closesInput: false).Streams);
        }

        // One more than there is room for: refused, the others go on.
        (AgentExit refused, _) = _agent.Run("true");
        Assert.Equal(AgentEnding.Resources, refused.How);
        foreach ((AgentProcess process, AgentHarness.Streams streams) in _agent.Processes)
        {
            if (streams.Exit is null)
            {
                Type(process, "word\n");
            }
        }

        _agent.Wait(() => all.All(each => each.Exit is not null));
        Assert.Equal(Enumerable.Range(0, 16).Select(i => ((uint)i, $"{i} word\n")), all.Select(each => (each.Exit!.Value.Value, each.OutputText)));
    }

    [Fact]
    public void It_goes_when_asked_and_when_vmm_is_gone()
    {
        (_, AgentHarness.Streams streams) = _agent.Start(
            new AgentCommand { Arguments = ["sleep", "1000"], Environment = ["PATH=/usr/bin:/bin"] });
        _agent.Session.Shutdown();
        _agent.Wait(() => _agent.HasSaidGoodbye);
        Assert.Equal(0, _agent.WaitForExit());
        Assert.Null(streams.Exit);
        using var other = new AgentHarness();
        other.Session.Dispose();
        Assert.Equal(0, other.WaitForExit());
    }

    private static void Type(AgentProcess process, string text)
    {
        Encoding.ASCII.GetBytes(text).CopyTo(process.ReserveInput());
        process.PutInput(text.Length);
    }
}

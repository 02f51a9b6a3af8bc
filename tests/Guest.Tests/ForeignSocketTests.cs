using System.Text.Json;
using Vmm.Guest.Tests.Harness;
using Vmm.Host;
using Vmm.Named;
using Vmm.Tests.Named;

namespace Vmm.Guest.Tests;

/// <summary>Every command that asks a machine something, where what is at the machine's control socket answers nonsense or nothing: it
/// ends by itself, with one line. Needs no KVM.</summary>
public sealed class ForeignSocketTests : IDisposable
{
    private const string Greeting = """{"protocol":1,"vmm":"9","pid":2}""" + "\n";

    /// <summary>What each says to who comes, and to a request.</summary>
    private static readonly (string Said, string? Answer)[] Peers =
    [
        ("", null),
        ("SSH-2.0-OpenSSH_9.2\n", null),
        (Greeting, null),
        (Greeting, "nonsense"),
        (Greeting, """{"id":ID,"result":{}}"""),
        (Greeting, """{"id":ID,"result":[1]}"""),
        (Greeting, """{"id":ID,"result":{"state":7,"exits":["a",9223372036854775807,9223372036854775807],"uptime":1e999,"cpuTime":[],"resident":1e300,"stream":-1,"memory":-1,"pause":"x","commandLine":7}}"""),
        (Greeting, """{"id":ID,"result":{"state":"running","uptime":-1e999,"exits":{},"stream":0,"inputWindow":0,"outputWindow":0,"commandLine":[]}}"""),
        (Greeting, """{"id":ID,"result":{"stream":1,"inputWindow":9,"outputWindow":9}}""" + "\n" + """{"event":"output","stream":1,"fd":1,"data":"*"}"""),
    ];

    private readonly TemporaryFolder _folder = new();
    private readonly List<IDisposable> _owned = [];

    public void Dispose()
    {
        _owned.ForEach(static each => each.Dispose());
        _folder.Dispose();
    }

    [Fact]
    public void Each_command_ends_with_one_line()
    {
        const int HostCannot = 69, VmmFailed = 125;
        _folder.Write("file", "content"u8);
        var asked = new List<(int Code, string[] Words, VmmProcess Process)>();
        for (int i = 0; i < Peers.Length; i++)
        {
            string path = _folder[$"c{i}.sock"];
            _owned.Add(new ForeignPeer(path, Peers[i].Said, Peers[i].Answer));
            foreach ((int code, string[] words) in ((int, string[])[])
            [
                (VmmFailed, ["exec", path, "--", "true"]),
                (VmmFailed, ["attach", "--no-stdin", path]),
                (HostCannot, ["cp", _folder["file"], $"{path}:/tmp"]),
                (HostCannot, ["cp", $"{path}:/tmp/file", _folder[$"out{i}"]]),
                (HostCannot, ["snapshot", path, _folder[$"saved{i}"]]),
                (HostCannot, ["rewind", path]),
                (HostCannot, ["fork", path]),
            ])
            {
                asked.Add((code, words, VmmProcess.Start(words)));
            }

            if (Peers[i].Answer is null or "nonsense")
            {
                // A machine's answer is printed as it is, and its events for as long as it lives.
                asked.Add((HostCannot, ["ctl", path, "status"], VmmProcess.Start("ctl", path, "status")));
                asked.Add((HostCannot, ["ctl", path, "events"], VmmProcess.Start("ctl", path, "events")));
            }
        }

        foreach ((int code, string[] words, VmmProcess process) in asked)
        {
            using (process)
            {
                process.CloseInput();
                VmmProcess.Ended ended = process.WaitForEnd();
                Assert.True((code, "") == (ended.Code, ended.Output), $"{string.Join(' ', words)}: {ended}");
                OneLine.AssertIs("c", ended.Error);
            }
        }
    }

    /// <summary>The same for machines with a name: they are listed as silent, and whatever listens there they can be ended.</summary>
    [Fact]
    public void Machines_that_do_not_answer_are_listed_and_ended()
    {
        var store = new MachineStore(_folder["state/machines"], () => _folder["run"]);
        List<Sleeper> processes = [];
        List<string> names = [];
        for (int i = 0; i < Peers.Length; i++)
        {
            names.AddRange([$"stop{i}", $"rm{i}"]);
            processes.AddRange([Add(store, $"stop{i}", Peers[i]), Add(store, $"rm{i}", Peers[i])]);
        }

        // Those are no machines' answers to stats, and one of them is none to status.
        string[] states = [.. Peers.Select(static each => each.Answer?.Contains("\"running\"", StringComparison.Ordinal) == true ? "running" : "silent")];
        VmmProcess.Ended listed = Ask("ps", "--json");
        Assert.True(listed is { Code: 0, Error: "" }, listed.ToString());
        using (JsonDocument machines = JsonDocument.Parse(listed.Output))
        {
            Assert.Equal(
                [.. states, .. states],
                machines.RootElement.EnumerateArray().Select(static each => each.GetProperty("state").GetString()));
        }

        VmmProcess.Ended table = Ask("ps");
        Assert.True(table is { Code: 0, Error: "" }, table.ToString());
        Assert.Equal(1 + names.Count, table.Output.Count(static c => c == '\n'));

        List<(string Name, VmmProcess Process)> asked = [];
        foreach (string name in names)
        {
            VmmProcess.Ended inspected = Ask("inspect", name);
            Assert.True(inspected is { Code: 0, Error: "" }, inspected.ToString());
            asked.Add((name, Start(name.StartsWith("stop", StringComparison.Ordinal) ? ["stop", name] : ["rm", "-f", name])));
        }

        foreach ((string name, VmmProcess process) in asked)
        {
            using (process)
            {
                VmmProcess.Ended ended = process.WaitForEnd();
                Assert.True(ended.Code == 0 && ended.Output == name + "\n" && ended.Error.Length == 0, ended.ToString());
            }
        }

        processes.ForEach(static each => each.Wait());
        VmmProcess.Ended left = Ask("ps", "-aq");
        Assert.Equal(string.Concat(names.Where(static name => name.StartsWith("stop", StringComparison.Ordinal)).Select(static name => name + "\n")), left.Output);
        VmmProcess.Ended removed = Ask([.. (string[])["rm"], .. left.Output.Split('\n', StringSplitOptions.RemoveEmptyEntries)]);
        Assert.True(removed.Code == 0, removed.ToString());
        Assert.Empty(Directory.EnumerateFileSystemEntries(_folder["run"]));
    }

    /// <summary>A machine whose process sleeps, and at whose socket somebody else is.</summary>
    /// <returns>The process.</returns>
    private Sleeper Add(MachineStore store, string name, (string Said, string? Answer) peer)
    {
        Directory.CreateDirectory(_folder["run"], PrivateFiles.DirectoryMode);
        MachineRecord record = TestRecord.Of(name, store.Runtime);
        (MachineFolder folder, FileDescriptor life) = store.TryCreate(record)!.Value;
        using (life)
        using (var nothing = FileDescriptor.Open("/dev/null", LibC.O_RDWR))
        {
            var process = new Sleeper(ChildProcess.Start("sleep", ["1000"], nothing.Number, life.Number)!.Value);
            _owned.Add(process);
            (record with { Pid = process.Id, Boot = MachineRecord.BootOfHost, Started = DateTimeOffset.UtcNow }).Write(folder.Path);
            Directory.CreateDirectory(folder.RuntimePath(record), PrivateFiles.DirectoryMode);
            _owned.Add(new ForeignPeer(folder.ControlPath(record), peer.Said, peer.Answer));
            return process;
        }
    }

    private VmmProcess.Ended Ask(params string[] words)
    {
        using VmmProcess process = Start(words);
        return process.WaitForEnd();
    }

    private VmmProcess Start(params string[] words)
    {
        VmmProcess process = VmmProcess.StartInShell(
            $"VMM_STATE_DIR={_folder["state"]} VMM_RUNTIME_DIR={_folder["run"]} exec \"$@\"", words);
        process.CloseInput();
        return process;
    }

    /// <summary>A process in a machine's place, which holds its lock; killed where the test has not had it ended.</summary>
    private sealed class Sleeper(int id) : IDisposable
    {
        private bool _isOver;

        public int Id => id;

        public void Wait()
        {
            ChildProcess.Wait(id);
            _isOver = true;
        }

        public void Dispose()
        {
            if (!_isOver)
            {
                _ = LibC.kill(id, LibC.SIGKILL);
                Wait();
            }
        }
    }
}

using System.Text.Json;
using System.Xml.Linq;
using Vmm.Cli.Commands;
using Vmm.Host;
using Vmm.Run.Many;
using Vmm.Run.Results;
using Vmm.Tests.Host;

namespace Vmm.Tests.Run;

/// <summary>Many runs, with a shell script in vmm's place.</summary>
[Collection(Signalled.Name)]
public sealed class ManyRunsTests : IDisposable
{
    private readonly string _folder = Directory.CreateTempSubdirectory("vmm-many").FullName;

    public void Dispose() => Directory.Delete(_folder, recursive: true);

    [Fact]
    public void Each_item_has_its_result_in_the_order_given_and_one_that_failed_is_code_1()
    {
        (int code, RunResult[] results) = Run(["a", "b", "c"], "case $item in b) code=3 verdict=failed;; esac; result");
        Assert.Equal(1, code);
        Assert.Equal(
            [("a", RunOutcome.Passed, 0), ("b", RunOutcome.Failed, 3), ("c", RunOutcome.Passed, 0)],
            results.Select(static each => (each.Name, each.Verdict, each.Code)));
        XElement root = XDocument.Load(At("junit.xml")).Root!;
        Assert.Equal(["a", "b", "c"], root.Elements("testsuite").Select(static each => each.Attribute("name")!.Value));
        Assert.Equal((0, 0), (Run(["a"], "result").Code, Run([], "result").Code));
    }

    [Fact]
    public void No_more_than_N_run_at_a_time()
    {
        (int code, _) = Run(
            ["1", "2", "3", "4", "5", "6", "7", "8"], $"touch {At("on")}.$item; ls {_folder} | grep -c '^on' >>{At("seen")}; sleep 0.1; rm {At("on")}.$item; result", parallel: 3);
        Assert.Equal(0, code);
        int[] seen = [.. File.ReadAllLines(At("seen")).Select(int.Parse)];
        Assert.Equal(8, seen.Length);
        Assert.InRange(seen.Max(), 1, 3);
    }

    [Fact]
    public void Fail_fast_ends_what_runs_and_begins_nothing_more()
    {
        (int code, RunResult[] results) = Run(["bad", "slow", "never"], "case $item in slow) exec sleep 1000;; esac; sleep 0.3; code=1 verdict=failed; result", parallel: 2, failFast: true);
        Assert.Equal(1, code);
        Assert.Equal(["bad"], results.Select(static each => each.Name));
    }

    [Fact]
    public void A_run_without_a_result_is_distinguished_from_one_whose_command_failed()
    {
        (int code, RunResult[] results) = Run(["a", "killed"], "case $item in a) echo 'vmm: /dev/kvm: there is none' >&2; exit 69;; esac; echo 'vmm: packed: 1 MiB' >&2; kill -9 $$");
        Assert.Equal(1, code);
        Assert.All(results, static each => Assert.Equal(RunOutcome.VmmFailed, each.Verdict));
        Assert.Equal(("/dev/kvm: there is none", 69), (results[0].Message, results[0].Code));
        Assert.Equal(("vmm was killed by SIGKILL; if that was the host's kernel, for lack of memory, 'dmesg' tells", 137), (results[1].Message, results[1].Code));
    }

    [Fact]
    public void A_run_whose_vmm_failed_after_it_had_written_that_it_passed_has_not_passed()
    {
        (int code, RunResult[] results) = Run(["a"], "(result); echo 'vmm: --trace t: No space left on device' >&2; exit 125");
        Assert.Equal(1, code);
        Assert.Equal((RunOutcome.VmmFailed, 125, "--trace t: No space left on device"), (results[0].Verdict, results[0].Code, results[0].Message));
    }

    [Fact]
    public void Words_of_the_command_get_the_item_as_it_is()
    {
        (_, RunResult[] results) = Run(["it's; $(touch x)", "-n"], "printf '%s' \"$item\" >$(mktemp -p " + _folder + " got.XXXX); result");
        Assert.Equal(2, results.Length);
        Assert.Equal(
            ["-n", "it's; $(touch x)"], Directory.EnumerateFiles(_folder, "got.*").Select(File.ReadAllText).Order(StringComparer.Ordinal));
        Assert.Equal(["sh", "-c", "x a y"], RunItems.CommandFor(["sh", "-c", "x {} y"], "a"));
        Assert.Equal(["sh", "a"], RunItems.CommandFor(["sh"], "a"));
    }

    [Fact]
    public void A_flood_of_output_is_bounded()
    {
        using ChildRun child = ChildRun.Start(new RunItem("x", ["/bin/sh", "-c", "yes | head -c 3000000; exit 5", "sh"], ["x"]));
        using var loop = new EventLoop();
        bool ended = false;
        loop.Add(child.End, LibC.EPOLLIN, _ => ended = true);
        while (!ended)
        {
            loop.Turn(10_000);
        }

        Assert.Equal(5, child.Finish().Code);
        using (FileStream whole = File.OpenRead(child.Output))
        {
            Assert.Equal(3_000_000, whole.Length);
        }

        Assert.InRange(RunEnd.Tail(child.Output).Length, 1, 300_000);
    }

    /// <summary>In the group of a run that was killed; and where it left the group, its end is that of its vmm all the same.</summary>
    [Fact]
    public void What_a_killed_run_left_behind_is_ended_or_not_waited_for()
    {
        var clock = System.Diagnostics.Stopwatch.StartNew();
        (int code, RunResult[] results) = Run(
            ["a"], $"sleep 1000 & echo $! >{At("same")}; setsid sleep 60 & echo $! >{At("other")}; sleep 0.2; kill -9 $$");
        Assert.Equal((1, 137), (code, results[0].Code));
        Assert.InRange(clock.Elapsed.TotalSeconds, 0, 50);
        _ = LibC.kill(int.Parse(File.ReadAllText(At("other"))), LibC.SIGKILL);
        string same = $"/proc/{File.ReadAllText(At("same")).Trim()}/stat";
        for (int i = 0; i < 500 && File.Exists(same) && !File.ReadAllText(same).Contains(") Z ", StringComparison.Ordinal); i++)
        {
            Thread.Sleep(20);
        }

        Assert.True(!File.Exists(same) || File.ReadAllText(same).Contains(") Z ", StringComparison.Ordinal));
    }

    [Fact]
    public void Where_memory_is_short_one_runs_after_the_other()
    {
        (int code, _) = Run(
            ["1", "2", "3"], $"touch {At("on")}.$item; ls {_folder} | grep -c '^on' >>{At("seen")}; sleep 0.1; rm {At("on")}.$item; result", available: 100 << 20);
        Assert.Equal(0, code);
        Assert.Equal(["1", "1", "1"], File.ReadAllLines(At("seen")));
    }

    [Fact]
    public void Patterns_find_files_as_a_shell_does_and_each_shard_has_its_part()
    {
        foreach (string path in (string[])["a.sh", "b.sh", ".hidden.sh", "c.txt", "sub/d.sh", "sub/deep/e.sh", "with space/f.sh"])
        {
            Directory.CreateDirectory(Path.GetDirectoryName(At(path))!);
            File.WriteAllText(At(path), "");
        }

        Assert.Equal([At("a.sh"), At("b.sh")], RunItems.Find(At("*.sh")));
        Assert.Equal([At("a.sh")], RunItems.Find(At("?.sh")).Take(1));
        Assert.Equal([At("sub/d.sh")], RunItems.Find(At("s*/*.sh")));
        Assert.Equal([At("sub/d.sh"), At("sub/deep/e.sh")], RunItems.Find(At("sub/**/*.sh")));
        Assert.Equal(5, RunItems.Find(At("**/*.sh")).Count);
        Assert.Equal([At("c.txt")], RunItems.Find(At("c.txt")));
        Assert.Throws<UsageException>(() => RunItems.Find(At("*.none")));
        File.WriteAllText(At("list"), "two\none\n\ntwo\r\n");
        Assert.Equal(["two", "one"], RunItems.Find("@" + At("list")));

        string[] all = [.. Enumerable.Range(0, 10).Select(static i => $"t{i}")];
        IReadOnlyList<string>[] shards = [.. Enumerable.Range(1, 3).Select(i => RunItems.Take(all, static each => each, (i, 3)))];
        Assert.Equal(all, shards.SelectMany(static each => each).Order(StringComparer.Ordinal));
        Assert.Equal(["t0", "t3", "t6", "t9"], shards[0]);
        Assert.Empty(RunItems.Take(all, static each => each, (11, 11)));
        Assert.Equal((2, 4), RunItems.ParseShard("2/4"));
        foreach (string wrong in (string[])["0/4", "5/4", "x", "1/2/3", "-1/2", ""])
        {
            Assert.Throws<UsageException>(() => RunItems.ParseShard(wrong));
        }
    }

    /// <summary>Names are whatever a line holds: none of them is lost, doubled or split, and each has files of its own.</summary>
    [Fact]
    public void A_list_of_ten_thousand_odd_names_is_taken_whole_and_each_is_in_one_shard()
    {
        string[] odd = ["with space", " leading and trailing ", "-n", "--", "$(x)", "it's", "\"", "a/b", "a-b", "tab\tbed", "ä\u4e2d\ud83d\ude00", "{}", "{#}", "*", new string('x', 5000)];
        string[] names = [.. odd, .. Enumerable.Range(0, 10_000).Select(static i => $"test {i}")];
        File.WriteAllText(At("list"), "\n\r\n" + string.Join("\r\n", names) + "\n\n" + names[0]);
        IReadOnlyList<string> found = RunItems.Find("@" + At("list"));
        Assert.Equal(names, found);
        Assert.Equal(
            names.Order(StringComparer.Ordinal),
            Enumerable.Range(1, 7).SelectMany(i => RunItems.Take(found, static each => each, (i, 7))).Order(StringComparer.Ordinal));
        string[] files = [.. found.Select(static (name, place) => RunItems.FileNameOf(name, place))];
        Assert.Equal(files.Length, files.Distinct(StringComparer.Ordinal).Count());
        Assert.All(files, static file => Assert.Matches("^[0-9]{3,}-[A-Za-z0-9._-]{1,80}$", file));
        Assert.Equal("a{#}b", RunItems.Put("{}", "a{#}b", 7));      // what an item holds is no placeholder
        File.WriteAllText(At("list"), "\n\r\n");
        Assert.Contains("the list is empty", Assert.Throws<UsageException>(() => RunItems.Find("@" + At("list"))).Message, StringComparison.Ordinal);
        Assert.Contains("none: no such file", Assert.Throws<UsageException>(() => RunItems.Find("@" + At("none"))).Message, StringComparison.Ordinal);
    }

    /// <summary>A file's name may have a line's end in it.</summary>
    [Fact]
    public void A_name_with_a_lines_end_is_one_item_and_one_line_of_the_reports()
    {
        const string Odd = "one\ntwo\u001b[2J";
        File.WriteAllText(At(Odd), "");
        Assert.Equal([At(Odd)], RunItems.Find(At("one*")));
        (int code, RunResult[] results) = Run([Odd], "[ \"$item\" = \"$(printf 'one\\ntwo\\033[2J')\" ] || code=1; result");
        Assert.Equal((0, Odd), (code, Assert.Single(results).Name));
        XElement suite = Assert.Single(XDocument.Load(At("junit.xml")).Root!.Elements("testsuite"));
        Assert.Equal("one\ntwo?[2J", suite.Attribute("name")!.Value);
    }

    private (int Code, RunResult[] Results) Run(string[] items, string script, int parallel = 4, bool failFast = false, ulong? available = null)
    {
        // Called as vmm is: OPTIONS --one-of-many FILE -- COMMAND ITEM
        File.WriteAllText(At("fake"), "while [ \"$1\" != --one-of-many ]; do shift; done; file=$2; for item; do :; done; code=0 verdict=passed\n"
            + "result() { printf '{\"format\":1,\"name\":\"x\",\"command\":[\"x\"],\"verdict\":\"%s\",\"code\":%s,\"started\":\"2026-11-27T00:00:00Z\","
            + "\"times\":{\"total\":1},\"kernel\":{\"path\":\"k\"},\"complaints\":[],\"tests\":[],\"console\":[]}' $verdict $code >$file; exit $code; }\n"
            + script + "\n");
        var options = new ManyOptions
        {
            Items = [.. items.Select(item => new RunItem(item, ["/bin/sh", At("fake")], ["command", item]) { Memory = 64 << 20 })],
            Parallel = parallel,
            FailFast = failFast,
            Reports = new RunReports { Result = At("result.json"), JUnit = At("junit.xml") },
        };
        int code;
        using (var many = new ManyRuns(options, available is { } free ? () => free : null))
        {
            code = many.Run();
        }

        return (code, [.. JsonSerializer.Deserialize(File.ReadAllText(At("result.json")), RunResultJson.Default.IReadOnlyListRunResult)!]);
    }

    private string At(string name) => Path.Combine(_folder, name);
}

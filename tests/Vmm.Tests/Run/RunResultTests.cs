using System.Diagnostics;
using System.Text;
using System.Text.Json;
using System.Xml;
using System.Xml.Linq;
using Vmm.Cli.Commands;
using Vmm.Host;
using Vmm.Insight.Complaints;
using Vmm.Machines;
using Vmm.Run;
using Vmm.Run.Results;
using Vmm.Run.Roots;
using Vmm.Text;

namespace Vmm.Tests.Run;

public sealed class RunResultTests : IDisposable
{
    private readonly string _folder = Directory.CreateTempSubdirectory("vmm-result").FullName;

    public void Dispose() => Directory.Delete(_folder, recursive: true);

    [Fact]
    public void A_result_is_what_its_schema_says_and_comes_back_as_it_was()
    {
        RunVerdict verdict = Record(new RunVerdict(RunOutcome.Failed, 3), complain: ComplaintKind.Warning);
        Assert.Equal((RunOutcome.Failed, 3), (verdict.Outcome, verdict.Code));
        string text = File.ReadAllText(At("result.json"));
        using JsonDocument schema = JsonDocument.Parse(File.ReadAllText(Path.Combine(Shared.SourceTree.Root, "docs/run-result.schema.json")));
        using JsonDocument document = JsonDocument.Parse(text);
        JsonElement known = schema.RootElement.GetProperty("properties");
        Assert.All(document.RootElement.EnumerateObject(), each => Assert.True(known.TryGetProperty(each.Name, out _), each.Name));
        Assert.All(
            schema.RootElement.GetProperty("required").EnumerateArray(),
            each => Assert.True(document.RootElement.TryGetProperty(each.GetString()!, out _), each.GetString()));
        Assert.Equal(
            Enum.GetNames<RunOutcome>().Length, known.GetProperty("verdict").GetProperty("enum").GetArrayLength());
        RunResult result = JsonSerializer.Deserialize(text, RunResultJson.Default.RunResult)!;
        Assert.Equal((RunOutcome.Failed, 3, 3), (result.Verdict, result.Code, result.CommandCode));
        Assert.Equal(("WARNING", "WARNING: CPU: 0 PID: 1 at x.c:1 f+0x1/0x2"), (result.Complaints[0].Kind, result.Complaints[0].Text));
        Assert.Equal(["before", "the line", "behind"], result.Complaints[0].Around);
        Assert.Equal("6.1.192", result.Kernel.Release);
    }

    [Theory]
    [InlineData((int)ComplaintKind.Oops, 0, (int)RunOutcome.Complained, ExitCodes.GuestComplained)]
    [InlineData((int)ComplaintKind.Kasan, 5, (int)RunOutcome.Complained, ExitCodes.GuestComplained)]
    [InlineData((int)ComplaintKind.Warning, 0, (int)RunOutcome.Passed, 0)]
    public void A_complaint_that_counts_is_the_verdict(int kind, int code, int expected, int expectedCode)
    {
        RunVerdict verdict = Record(new RunVerdict(code == 0 ? RunOutcome.Passed : RunOutcome.Failed, code), complain: (ComplaintKind)kind);
        Assert.Equal(((RunOutcome)expected, expectedCode), (verdict.Outcome, verdict.Code));
        RunResult result = JsonSerializer.Deserialize(File.ReadAllText(At("result.json")), RunResultJson.Default.RunResult)!;
        Assert.Equal(code, result.CommandCode);
    }

    [Fact]
    public void A_panic_or_a_crash_is_worse_than_a_complaint()
    {
        var panicked = new RunVerdict(RunOutcome.Panicked, ExitCodes.GuestPanicked, "panic");
        Assert.Equal(panicked, Record(panicked, complain: ComplaintKind.Oops));
    }

    [Theory]
    [InlineData(false, ExitCodes.GuestPanicked)]
    [InlineData(true, 255)]
    public void A_panic_has_the_code_that_scripts_for_virtme_ng_know_if_they_ask_for_it(bool virtme, int code)
    {
        var end = new MachineEnd(MachineEndKind.GuestPanicked, ExitCodes.GuestPanicked, "x");
        RunVerdict verdict = RunVerdict.Of(end, Options(new RunReports()) with { VirtmeCodes = virtme }, hasArrived: true);
        Assert.Equal((RunOutcome.Panicked, code), (verdict.Outcome, verdict.Code));
    }

    [Theory]
    [InlineData("TAP version 13\n1..1\nok 1\n", 0, (int)RunOutcome.Passed, 0)]
    [InlineData("TAP version 13\n1..1\nnot ok 1\n", 0, (int)RunOutcome.TestsFailed, 1)]
    [InlineData("TAP version 13\n1..1\nnot ok 1\n", 4, (int)RunOutcome.Failed, 4)]
    [InlineData("nothing\n", 0, (int)RunOutcome.TestsFailed, 1)]
    public void Tests_in_the_output_count_with_ktap(string output, int code, int expected, int expectedCode)
    {
        RunVerdict verdict = Record(new RunVerdict(code == 0 ? RunOutcome.Passed : RunOutcome.Failed, code), output: output, ktap: true);
        Assert.Equal(((RunOutcome)expected, expectedCode), (verdict.Outcome, verdict.Code));
    }

    [Fact]
    public void JUnit_has_a_case_for_each_test_or_one_for_the_run_and_only_characters_that_XML_has()
    {
        Record(new RunVerdict(RunOutcome.Passed, 0), output: "TAP version 13\n1..2\nok 1 a<&\u0001b\nnot ok 2 c # why\n", ktap: true);
        XElement suite = XDocument.Load(At("junit.xml")).Root!.Element("testsuite")!;
        Assert.Equal(("2", "1", "0"), (suite.Attribute("tests")!.Value, suite.Attribute("failures")!.Value, suite.Attribute("errors")!.Value));
        Assert.Equal(["a<&?b", "c"], suite.Elements("testcase").Select(static each => each.Attribute("name")!.Value));
        Assert.Equal("why", suite.Elements("testcase").Last().Element("failure")!.Attribute("message")!.Value);

        Record(new RunVerdict(RunOutcome.TimedOut, 124, "timed out\0", ShowConsole: true));
        suite = XDocument.Load(At("junit.xml")).Root!.Element("testsuite")!;
        Assert.Equal(("1", "0", "1"), (suite.Attribute("tests")!.Value, suite.Attribute("failures")!.Value, suite.Attribute("errors")!.Value));
        Assert.Equal("timed out?", suite.Element("testcase")!.Element("error")!.Attribute("message")!.Value);
    }

    [Fact]
    public void A_bundle_is_there_when_it_failed_and_repeats_the_run()
    {
        Record(new RunVerdict(RunOutcome.Failed, 1), output: "said", bundle: true);
        Assert.Equal(("said", "typed"), (File.ReadAllText(At("bundle/stdout")), File.ReadAllText(At("bundle/stdin"))));
        Assert.Contains("\"failed\"", File.ReadAllText(At("bundle/result.json")), StringComparison.Ordinal);
        string script = File.ReadAllText(At("bundle/repeat"));
        Assert.StartsWith("#!/bin/sh\n", script, StringComparison.Ordinal);
        Assert.EndsWith($" <{At("bundle/stdin")}\n", script, StringComparison.Ordinal);
        using Process check = Process.Start("/bin/sh", ["-n", At("bundle/repeat")]);
        check.WaitForExit();
        Assert.Equal(0, check.ExitCode);
        Directory.Delete(At("bundle"), recursive: true);
        Record(new RunVerdict(RunOutcome.Passed, 0), bundle: true);
        Assert.False(Directory.Exists(At("bundle")));
        Assert.Throws<UsageException>(() => new FailureBundle("/proc/no"));
    }

    [Theory]
    [InlineData("a", "a")]
    [InlineData("a b", "'a b'")]
    [InlineData("it's", "'it'\\''s'")]
    [InlineData("", "''")]
    [InlineData("$(x)", "'$(x)'")]
    public void Words_are_quoted_for_the_shell(string word, string quoted) => Assert.Equal(quoted, ShellWord.Quote(word));

    [Fact]
    public void What_a_run_of_many_repeats_is_without_the_file_of_the_others() => Assert.Equal(
        ["run", "--bundle", "b", "--", "x", "--result", "/proc/1/fd/2"],
        FailureBundle.WithoutOneOfMany(["run", "--bundle", "b", "--one-of-many", "/proc/1/fd/2", "--", "x", "--result", "/proc/1/fd/2"]));

    [Fact]
    public void A_log_has_the_time_before_each_line()
    {
        double now = 1.5;
        using (var log = new ConsoleLog(OutputFile.Open(At("log"), "--log"), () => now))
        {
            log.Write("one"u8);
            now = 2;
            log.Write(" line\ntwo\n\nthr"u8);
            log.Flush(TimeSpan.FromSeconds(60));
            Assert.Null(log.Failure);
        }

        Assert.Equal("[    1.500000] one line\n[    2.000000] two\n[    2.000000] \n[    2.000000] thr", File.ReadAllText(At("log")));
    }

    [Fact]
    public void A_full_disk_costs_the_log_and_not_the_guest()
    {
        using var log = new ConsoleLog(OutputFile.Open("/dev/full", "--log"), () => 0);
        for (int i = 0; i < 1000; i++)
        {
            Assert.Equal(5000, log.Write(new byte[5000]));
        }

        log.Flush(TimeSpan.FromSeconds(60));
        Assert.Contains("No space left", log.Failure, StringComparison.Ordinal);
    }

    [Fact]
    public void Only_the_first_complaints_are_kept()
    {
        var tail = new ConsoleTail();
        var list = new ComplaintList(tail);
        for (int i = 0; i < 1000; i++)
        {
            list.Add(new Complaint(ComplaintKind.Warning, i, "x"));
        }

        list.Add(new Complaint(ComplaintKind.Kasan, 1001, "late"));
        list.Add(new Complaint(ComplaintKind.Kasan, 1002, "later"));
        Assert.Equal(1002, list.Total);
        Assert.Equal(ComplaintList.Most + 1, list.ToResults().Count);
        Assert.Equal(("KASAN", "late"), (list.ToResults()[^1].Kind, list.ToResults()[^1].Text));
    }

    [Fact]
    public void The_lines_around_a_complaint_are_kept_whatever_follows()
    {
        var tail = new ConsoleTail();
        var list = new ComplaintList(tail);
        tail.Write("before\nBUG: here"u8);
        list.Add(new Complaint(ComplaintKind.Bug, 2, "BUG: here"));
        tail.Write("\nbehind\n"u8);
        list.Keep();
        tail.Write(new byte[200_000]);
        Assert.Equal(["before", "BUG: here", "behind"], list.ToResults()[0].Around);
    }

    [Fact]
    public void A_panic_that_a_program_prints_is_none()
    {
        RunVerdict passed = new(RunOutcome.Passed, 0);
        Assert.Equal(passed, Record(passed, complain: ComplaintKind.Panic));
        Assert.Equal(RunOutcome.Complained, Record(new RunVerdict(RunOutcome.TimedOut, 124, "timed out"), complain: ComplaintKind.Panic).Outcome);
    }

    [Fact]
    public void The_list_of_complaints_is_checked()
    {
        Assert.Equal(13, RunReportOptions.ParseKinds("all").Count);
        Assert.Empty(RunReportOptions.ParseKinds("none"));
        Assert.Equal([ComplaintKind.Kasan, ComplaintKind.SoftLockup], RunReportOptions.ParseKinds("kasan, soft-lockup").Order());
        UsageException error = Assert.Throws<UsageException>(() => RunReportOptions.ParseKinds("KASSAN"));
        Assert.Contains("did you mean 'KASAN'?", error.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void A_run_that_never_came_to_its_guest_has_a_result_that_can_be_read()
    {
        using (var recorder = new RunRecorder(Options(new RunReports { Result = At("early.json") })))
        {
            recorder.Finish(RunVerdict.Failed("/dev/kvm: there is none"), entered: 0, console: []);
        }

        RunResult result = JsonSerializer.Deserialize(File.ReadAllText(At("early.json")), RunResultJson.Default.RunResult)!;
        Assert.Equal((RunOutcome.VmmFailed, 125, "/dev/kvm: there is none"), (result.Verdict, result.Code, result.Message));
        Assert.Null(result.Kernel.Release);
        Assert.Null(result.Times.Command);
    }

    [Fact]
    public void A_file_that_cannot_be_written_is_reported_before_the_boot() =>
        Assert.Throws<UsageException>(() => new RunRecorder(Options(new RunReports { Result = "/no/such/directory/x" })));

    /// <summary>/dev/full is a disk that is full.</summary>
    [Theory]
    [InlineData("--log")]
    [InlineData("--junit")]
    [InlineData("--result")]
    public void A_run_whose_report_is_not_complete_has_not_passed(string option)
    {
        var recorder = new RunRecorder(Options(new RunReports
        {
            Log = option == "--log" ? "/dev/full" : null,
            JUnit = option == "--junit" ? "/dev/full" : null,
            Result = option == "--result" ? "/dev/full" : At("result.json"),
        }));
        recorder.Log?.Write("booting\n"u8);
        RunVerdict verdict = recorder.Finish(new RunVerdict(RunOutcome.Passed, 0), entered: 0, console: []);
        recorder.Dispose();
        Assert.Equal((RunOutcome.VmmFailed, 125), (verdict.Outcome, verdict.Code));
        Assert.StartsWith(option, verdict.Message, StringComparison.Ordinal);
        if (option != "--result")
        {
            Assert.Contains("\"code\": 125", File.ReadAllText(At("result.json")), StringComparison.Ordinal);
        }
    }

    private string At(string name) => Path.Combine(_folder, name);

    private static RunOptions Options(RunReports reports) => new()
    {
        Machine = new MachineSpec { Kernel = "bzImage" },
        Command = ["make", "check"],
        Root = new RunRoot(RootKind.Busybox),
        Reports = reports,
        Exec = Stopwatch.GetTimestamp(),
    };

    private RunVerdict Record(RunVerdict verdict, string output = "", bool ktap = false, ComplaintKind? complain = null, bool bundle = false)
    {
        using var recorder = new RunRecorder(Options(new RunReports
        {
            Name = "the name",
            Result = At("result.json"),
            JUnit = At("junit.xml"),
            Ktap = ktap,
            Bundle = bundle ? At("bundle") : null,
        }));
        recorder.Arrived("Linux 6.1.192 x86_64");
        recorder.CommandBegan();
        recorder.Input?.Invoke("typed"u8);
        recorder.Console.Write("before\nthe line"u8);
        if (complain is { } kind)
        {
            recorder.Complaints.Add(new Complaint(kind, 2, "WARNING: CPU: 0 PID: 1 at x.c:1 f+0x1/0x2"));
        }

        recorder.Console.Write("\nbehind\n"u8);
        recorder.Wrote(isError: false, Encoding.UTF8.GetBytes(output));
        return recorder.Finish(verdict, Stopwatch.GetTimestamp(), ["last"]);
    }
}

using System.Diagnostics;
using System.Globalization;
using System.Text.Json;
using Vmm.Host;
using Vmm.Insight.Complaints;
using Vmm.Machines;

namespace Vmm.Run.Results;

/// <summary>Records a run: times, complaints of the kernel, tests of the command. At the end it decides the result, and writes
/// the files.</summary>
/// <remarks>The files are opened first, so that a mistyped path does not cost a run. On the event loop's thread while the machine
/// runs, but for <see cref="Complaints"/>.</remarks>
internal sealed class RunRecorder : IDisposable
{
    private const int BundledBytes = 1 << 20, MostNamed = 20;

    private readonly RunOptions _options;
    private readonly RunReports _reports;
    private readonly DateTimeOffset _started = DateTimeOffset.UtcNow;
    private readonly OutputFile? _result, _junit;
    private readonly FailureBundle? _bundle;
    private readonly TapParser? _tests;
    private readonly ByteTail? _output, _error;
    private readonly BundledInput? _input;
    private long _entered, _arrived, _commandBegan, _commandEnded;
    private string? _release;
    private bool _isFinished;

    /// <exception cref="UsageException">A file cannot be written.</exception>
    public RunRecorder(RunOptions options)
    {
        (_options, _reports) = (options, options.Reports);
        Console = new ConsoleTail();
        Complaints = new ComplaintList(Console);
        try
        {
            _result = _reports.Result is { } result ? OutputFile.Open(result, "--result") : null;
            _junit = _reports.JUnit is { } junit ? OutputFile.Open(junit, "--junit") : null;
            Log = _reports.Log is { } log ? new ConsoleLog(OutputFile.Open(log, "--log"), () => Since(_options.Exec)) : null;
            _bundle = _reports.Bundle is { } bundle ? new FailureBundle(bundle) : null;
        }
        catch
        {
            Dispose();
            throw;
        }

        _tests = _reports.Ktap ? new TapParser() : null;
        if (_bundle is not null)
        {
            (_output, _error, _input) = (new ByteTail(BundledBytes), new ByteTail(BundledBytes), new BundledInput(options.Terminal));
        }
    }

    /// <summary>The last console output of the guest's kernel.</summary>
    public ConsoleTail Console { get; }

    public ComplaintList Complaints { get; }

    public ConsoleLog? Log { get; }

    /// <summary>The times of the run's steps, as Stopwatch timestamps; 0 for those that were not reached.</summary>
    public IEnumerable<(string Name, long Time)> Marks => [("agent", _arrived), ("command starts", _commandBegan), ("command ends", _commandBegan == 0 ? 0 : _commandEnded)];

    /// <summary>The complaint that decided the result; null for none.</summary>
    public RunComplaint? Decisive { get; private set; }

    /// <summary>The agent has connected.</summary>
    /// <param name="system">System, release and machine, as uname has them.</param>
    public void Arrived(string system)
    {
        _arrived = Stopwatch.GetTimestamp();
        _release = system.Split(' ') is [_, var release, ..] ? release : system;
    }

    public void CommandBegan() => _commandBegan = Stopwatch.GetTimestamp();

    public void CommandEnded() => _commandEnded = _commandEnded == 0 ? Stopwatch.GetTimestamp() : _commandEnded;

    /// <summary>Hears what the command gets as input; null where nobody wants it.</summary>
    public Action<ReadOnlySpan<byte>>? Input => _input is null ? null : _input.Add;

    public void Wrote(bool isError, ReadOnlySpan<byte> bytes)
    {
        (isError ? _error : _output)?.Add(bytes);
        if (!isError)
        {
            _tests?.Add(bytes);
        }
    }

    /// <summary>The run has ended. The first call counts.</summary>
    /// <param name="verdict">The result from machine and command alone.</param>
    /// <param name="entered">When the guest's first instruction ran, as a Stopwatch timestamp; 0 for never.</param>
    /// <param name="console">The console's lines to store with it.</param>
    /// <returns>The final result.</returns>
    public RunVerdict Finish(RunVerdict verdict, long entered, IReadOnlyList<string> console)
    {
        if (_isFinished)
        {
            return verdict;
        }

        _isFinished = true;
        _entered = entered;
        CommandEnded();
        _tests?.Finish();
        IReadOnlyList<RunComplaint> complaints = Complaints.ToResults();
        int? commandCode = verdict.Outcome is RunOutcome.Passed or RunOutcome.Failed ? verdict.Code : null;
        verdict = Judge(verdict, complaints);
        TellTests();
        Log?.Flush(TimeSpan.FromSeconds(2));
        Tell(Log?.Lost);
        verdict = Counting(Log?.Failure, verdict);
        return Write(verdict, new RunResult
        {
            Name = _reports.Name ?? string.Join(' ', _options.Command),
            Command = _options.Command,
            Verdict = verdict.Outcome,
            Code = verdict.Code,
            CommandCode = commandCode,
            Message = verdict.Message,
            Started = _started,
            Times = Times(),
            Kernel = new RunKernel(_options.Machine.Kernel, _release),
            Complaints = complaints,
            Tests = _tests?.Cases ?? [],
            Console = verdict.ShowConsole ? console : [],
        });
    }

    public void Dispose()
    {
        _result?.Dispose();
        _junit?.Dispose();
        Log?.Dispose();
    }

    /// <summary>A complaint of --fail-on overrides the command's result, but not a failure of the machine; a failed test counts
    /// if the command itself did not fail.</summary>
    private RunVerdict Judge(RunVerdict verdict, IReadOnlyList<RunComplaint> complaints)
    {
        // A kernel that has panicked does not run the command to its end: another program printed that text.
        bool commandEnded = verdict.Outcome is RunOutcome.Passed or RunOutcome.Failed;
        bool Counts(RunComplaint each) => ComplaintNames.Find(each.Kind) is { } kind && _reports.FailOn.Contains(kind)
            && (kind != ComplaintKind.Panic || !commandEnded);
        if ((commandEnded || verdict.Outcome is RunOutcome.TimedOut) && complaints.FirstOrDefault(Counts) is { } worst)
        {
            Decisive = worst;
            string also = verdict.Message ?? string.Create(CultureInfo.InvariantCulture, $"the command ended with {verdict.Code}");
            return new RunVerdict(
                RunOutcome.Complained, ExitCodes.GuestComplained,
                $"the guest's kernel complained ({worst.Kind}): {worst.Text}; {also}", verdict.ShowConsole);
        }

        if (_tests is null || !commandEnded || (_tests.Failures == 0 && _tests.Total > 0) || verdict.Code != 0)
        {
            return verdict;
        }

        return new RunVerdict(
            RunOutcome.TestsFailed, 1,
            _tests.Total == 0 ? "--ktap: there are no test results in its output"
                : string.Create(CultureInfo.InvariantCulture, $"{_tests.Failures} of {_tests.Total} tests failed"));
    }

    private void TellTests()
    {
        if (_tests is not { Total: > 0 } tests)
        {
            return;
        }

        int Count(TestOutcome outcome) => tests.Cases.Count(each => each.Outcome == outcome);
        int skipped = Count(TestOutcome.Skip), expected = Count(TestOutcome.ExpectedFail);
        Stderr.WriteLine(string.Create(
            CultureInfo.InvariantCulture,
            $"vmm: {tests.Total} tests: {tests.Total - tests.Failures - skipped - expected} passed, {tests.Failures} failed, {skipped} skipped")
            + (expected > 0 ? string.Create(CultureInfo.InvariantCulture, $", {expected} failed as expected") : ""));
        foreach (TestCase failed in tests.Cases.Where(static each => each.Outcome.IsFailure()).Take(MostNamed))
        {
            string why = failed.Message?.Split('\n')[^1] ?? "";
            Stderr.WriteLine($"vmm: {(failed.Outcome == TestOutcome.Fail ? "failed" : failed.Outcome == TestOutcome.Timeout ? "timed out" : "error")}: "
                + $"{failed.Name}{(why.Length > 0 ? $" ({why})" : "")}");
        }
    }

    /// <summary>What was asked for is not there: then the run has not passed.</summary>
    /// <param name="failure">Of one of its files; null for none.</param>
    private static RunVerdict Counting(string? failure, RunVerdict verdict)
    {
        if (verdict.Outcome == RunOutcome.Passed && failure is not null)
        {
            return RunVerdict.Failed(failure);      // who reports the verdict tells it
        }

        Tell(failure);
        return verdict;
    }

    /// <summary>Writes the files. The result is the last report, so that it tells of the others.</summary>
    private RunVerdict Write(RunVerdict verdict, RunResult result)
    {
        if (_junit is not null)
        {
            JUnitReport.Write(_junit, [result]);
            verdict = Counting(_junit.Failure, verdict);
            result = result with { Verdict = verdict.Outcome, Code = verdict.Code, Message = verdict.Message };
        }

        if (_result is not null)
        {
            JsonSerializer.Serialize(_result, result, RunResultJson.Default.RunResult);
            _result.Write("\n"u8);
            verdict = Counting(_result.Failure, verdict);
        }

        if (verdict.Outcome == RunOutcome.Passed)
        {
            _bundle?.Drop();
        }
        else
        {
            Tell(_bundle?.Write(result, Console.Lines(), _output!.ToArray(), _error!.ToArray(), _input!, _options.Inherited));
        }

        return verdict;
    }

    private static void Tell(string? line)
    {
        if (line is not null)
        {
            Stderr.WriteLine($"vmm: {line}");
        }
    }

    private RunTimes Times() => new()
    {
        Start = Between(_options.Exec, _entered),
        Boot = Between(_entered, _commandBegan),
        Command = Between(_commandBegan, _commandEnded),
        Total = Since(_options.Exec),
    };

    private static double? Between(long from, long to) =>
        from != 0 && to != 0 ? Math.Round(Stopwatch.GetElapsedTime(from, to).TotalSeconds, 6) : null;

    private static double Since(long from) => Math.Round(Stopwatch.GetElapsedTime(from).TotalSeconds, 6);
}

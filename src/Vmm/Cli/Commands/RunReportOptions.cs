using System.CommandLine;
using Vmm.Host;
using Vmm.Insight.Complaints;
using Vmm.Run.Results;
using Vmm.Text;

namespace Vmm.Cli.Commands;

/// <summary>The options of <c>vmm run</c> for results and reports.</summary>
internal sealed class RunReportOptions
{
    private readonly Option<string> _failOn = new("--fail-on")
    {
        Description = "What the guest's kernel may not complain of: a list of " + string.Join(", ", ComplaintNames.All)
            + "; or all, or none; panic,oops,BUG,KASAN if not given",
        HelpName = "LIST",
    };

    private readonly Option<bool> _ktap = new("--ktap")
    {
        Description = "Read KTAP or TAP in the command's output: a failed test fails the run",
    };

    private readonly Option<string> _result = new("--result")
    {
        Description = "Write the result to this file, as JSON: outcome, exit codes, times, complaints, tests",
        HelpName = "FILE",
    };

    private readonly Option<string> _junit = new("--junit")
    {
        Description = "Write a JUnit report to this file",
        HelpName = "FILE",
    };

    private readonly Option<string> _log = new("--log")
    {
        Description = "Write the guest's console to this file, each line with its time",
        HelpName = "FILE",
    };

    private readonly Option<string> _bundle = new("--bundle")
    {
        Description = "When it fails, write all of these to this directory, with a script that runs it again",
        HelpName = "DIRECTORY",
    };

    private readonly Option<string> _oneOfMany = new(RunReports.OneOfMany)
    {
        Description = "Internal: the file for the result of one of many runs",
        HelpName = "FILE",
        Hidden = true,
    };

    public IEnumerable<Option> All => [_failOn, _ktap, _result, _junit, _log, _bundle, _oneOfMany];

    /// <exception cref="UsageException">There is no such complaint.</exception>
    public RunReports Read(ParseResult result) => new()
    {
        FailOn = result.GetValue(_failOn) is { } list ? ParseKinds(list) : RunReports.Usual,
        Ktap = result.GetValue(_ktap),
        Result = result.GetValue(_oneOfMany) ?? result.GetValue(_result),
        IsOneOfMany = result.GetResult(_oneOfMany) is not null,
        JUnit = result.GetValue(_junit),
        Log = result.GetValue(_log),
        Bundle = result.GetValue(_bundle),
    };

    internal static IReadOnlySet<ComplaintKind> ParseKinds(string list) => list switch
    {
        "none" => new HashSet<ComplaintKind>(),
        "all" => new HashSet<ComplaintKind>(Enum.GetValues<ComplaintKind>()),
        _ => new HashSet<ComplaintKind>(list.Split(',').Select(static name => ComplaintNames.Find(name.Trim()) ?? throw new UsageException(
            $"--fail-on {name}: no such complaint{Suggestion.DidYouMean(name, ComplaintNames.All)}; there are {string.Join(", ", ComplaintNames.All)}, all and none"))),
    };
}

using System.CommandLine;
using Vmm.Insight.Profile;
using Vmm.Insight.Timeline;
using Vmm.Machines;
using Vmm.Text;

namespace Vmm.Cli.Commands;

/// <summary><c>vmm boot-timeline</c>: boots a machine and shows a timeline of its boot; or compares two timelines.</summary>
internal sealed class BootTimelineCommand(BootCommand run, StartClock clock)
{
    private readonly Option<string?> _until = new("--until")
    {
        Description = "End the machine at this point: init, shell, or when TEXT appears on its console",
        HelpName = "init|shell|TEXT",
    };

    private readonly Option<string?> _json = new("--json")
    {
        Description = "Save the timeline, for programs and for --compare",
        HelpName = "FILE",
    };

    private readonly Option<string?> _html = new("--html")
    {
        Description = "Write the timeline as a page for a browser, complete in one file",
        HelpName = "FILE",
    };

    private readonly Option<string[]> _compare = new("--compare")
    {
        Description = "Boot nothing: compare two saved timelines",
        HelpName = "A.json B.json",
        Arity = new ArgumentArity(2, 2),
        AllowMultipleArgumentsPerToken = true,
    };

    public static Command Create(BootCommand run, StartClock clock) => new BootTimelineCommand(run, clock).Create();

    private Command Create()
    {
        var command = new Command("boot-timeline", "Boot a machine, and at its end show a timeline of its boot; or compare two boots");
        run.AddOptionsTo(command);
        command.Options.Add(_until);
        command.Options.Add(_json);
        command.Options.Add(_html);
        command.Options.Add(_compare);
        command.Subcommands.Add(RunCommand.Create(
            run, clock, new RunFigures("Run one command as vmm run does, and show a timeline", [_json, _html],
                (result, one) => Figures(result, BootCommand.OpenProfile(one.HasProfile, one.Profile), one.Trace, until: null))));
        command.SetAction(result => result.GetResult(_compare) is null ? Boot(result) : Compare(result.GetValue(_compare)!));
        return command;
    }

    private static int Compare(string[] files)
    {
        BootTimeline first = TimelineJson.Read(files[0]);
        BootTimeline second = TimelineJson.Read(files[1]);
        Stdout.Write(TimelineComparison.Format(files[0], first, files[1], second, TextStyle.Of(1)));
        return ExitCodes.Success;
    }

    private int Boot(ParseResult result)
    {
        Until? until = result.GetValue(_until) is { } text
            ? CommandLineCheck.Read(result.CommandResult.Command, () => Until.Parse(text))
            : null;
        MachineSpec options = run.Read(result);
        using MachineFigures figures = Figures(result, profile: null, run.TraceOf(result), until);
        return MachineRunner.RunObserved(options, clock, figures);
    }

    private MachineFigures Figures(ParseResult result, ProfileOutput? profile, string? trace, Until? until) => new(
        clock, profile, trace, new TimelineReport(clock, until, result.GetValue(_json), result.GetValue(_html)));
}

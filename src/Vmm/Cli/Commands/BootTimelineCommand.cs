using System.CommandLine;
using System.Text;
using Vmm.Host;
using Vmm.Insight.Profile;
using Vmm.Insight.Recorder;
using Vmm.Insight.Timeline;
using Vmm.Insight.Trace;
using Vmm.Kvm;
using Vmm.Machines;
using Vmm.Text;

namespace Vmm.Cli.Commands;

/// <summary><c>vmm boot-timeline</c>: boots a machine and tells what happened when; or compares two such boots.</summary>
internal sealed class BootTimelineCommand(BootCommand run, StartClock clock)
{
    /// <summary>The whole kernel log, with its clock: what comes last wins over quiet.</summary>
    private const string Talkative = "loglevel=7 printk.time=1";
    private const int StandardError = 2;

    private readonly Option<string?> _until = new("--until")
    {
        Description = "End the machine when it has come so far: init, shell, or when TEXT comes up on its console",
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
        Description = "Boot nothing: set two saved timelines side by side",
        HelpName = "A.json B.json",
        Arity = new ArgumentArity(2, 2),
        AllowMultipleArgumentsPerToken = true,
    };

    public static Command Create(BootCommand run, StartClock clock) => new BootTimelineCommand(run, clock).Create();

    private Command Create()
    {
        var command = new Command("boot-timeline", "Boot a machine, and at its end tell what happened when; or compare two boots");
        run.AddOptionsTo(command);
        command.Options.Add(_until);
        command.Options.Add(_json);
        command.Options.Add(_html);
        command.Options.Add(_compare);
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
        MachineSpec options = WithTalkativeKernel(run.Read(result));
        BootCommand.CheckOneLife(options);
        using OutputFile? json = Open(result, _json);
        using OutputFile? html = Open(result, _html);
        long origin = clock.Exec;
        using TraceWriter? trace = run.TraceOf(result) is { } path ? new TraceWriter(path, origin) : null;
        var phases = new PhaseLog();
        phases.Done("start vmm");
        var console = new ConsoleLines(origin, until);
        using Machine machine = Machine.Build(
            options, new RunObserver { Trace = trace, Phases = phases, Console = console });
        console.Reached += () => machine.End(MachineEnd.Reached(until!.Name));
        MachineEnd end = BootCommand.RunToEnd(machine);

        BootTimeline timeline = Tell(options, machine, phases, console, origin, end);
        trace?.Finish((format, track) => TimelineTrace.Write(timeline, format, origin, track));
        Stderr.Write(TimelineText.Format(timeline, TextStyle.Of(StandardError)));
        if (json is not null)
        {
            TimelineJson.Write(json, timeline);
        }

        html?.Write(Encoding.UTF8.GetBytes(TimelineHtml.Format(timeline)));
        if (until is not null && console.ReachedAt is null)
        {
            Stderr.WriteLine($"vmm: the machine ended before '{until.Name}' came");
        }

        return BootCommand.Report(machine, end, options, clock, trace?.File, json, html);
    }

    private static MachineSpec WithTalkativeKernel(MachineSpec options) => options.CommandLineOnly
        ? options
        : options with { CommandLine = string.IsNullOrWhiteSpace(options.CommandLine) ? Talkative : Insert(options.CommandLine) };

    /// <summary>Behind what the user gave, but before a lone "--": what follows that is init's.</summary>
    private static string Insert(string commandLine)
    {
        int end = $"{commandLine} ".IndexOf(" -- ", StringComparison.Ordinal);
        return end < 0 ? $"{commandLine} {Talkative}" : $"{commandLine[..end]} {Talkative}{commandLine[end..]}";
    }

    private static OutputFile? Open(ParseResult result, Option<string?> option) =>
        result.GetValue(option) is { } path ? OutputFile.Open(path, option.Name) : null;

    private static BootTimeline Tell(
        MachineSpec options, Machine machine, PhaseLog phases, ConsoleLines console, long origin, MachineEnd end)
    {
        ExitProfile profile = RunObserver.ProfileOf(machine);
        long firstEntry = machine.FirstEntry - origin;
        long total = machine.Ended - origin;
        ExitRecorder[] recorders = [.. machine.Observer!.Recorders.Where(recorder => recorder.FirstExit != 0)];
        long? firstExit = recorders.Length == 0 ? null : recorders.Min(recorder => recorder.FirstExit) - origin;
        IEnumerable<(string, long)> done = phases.Steps.Select(step => (step.Name, step.End - origin)).Append(("start threads", firstEntry));
        return new BootTimeline
        {
            Kernel = Path.GetFileName(options.Kernel),
            Host = $"{HostKinds.Detect().Describe().Split(':')[0]}, {options.Cpus} vCPU{(options.Cpus == 1 ? "" : "s")}, "
                + $"{ByteSize.Format(options.Memory)}",
            Ending = end.Summary,
            FirstEntry = firstEntry,
            Total = total,
            Steps =
            [
                .. BootTimeline.StepsOfVmm(done),
                .. BootTimeline.StepsOfGuest(firstEntry, firstExit, console.FirstByte, console.PromptAt, console.Lines, total),
            ],
            Lines = console.Lines,
            Gaps = BootTimeline.FindGaps(firstEntry, console.Lines, total),
            DroppedLines = console.Dropped,
            Exits = profile.Exits,
            ConsoleExits = profile.ByDevice.FirstOrDefault(device => device.Name == machine.Console!.Port.Name)?.Exits ?? 0,
            InVmm = profile.InVmm,
        };
    }
}

using System.CommandLine;
using Vmm.Host;
using Vmm.Insight.Profile;
using Vmm.Machines;

namespace Vmm.Cli.Commands;

/// <summary><c>vmm exits</c>: boots a machine as vmm without a command does, and lists its exits and their cost.</summary>
internal static class ExitsCommand
{
    public static Command Create(BootCommand run, StartClock clock)
    {
        var format = new Option<string?>("--format", "-f")
        {
            Description = "table, json, or folded (stacks for flame-graph tools); if not given, as the file's name ends",
            HelpName = "table|json|folded",
        };
        var output = new Option<string?>("--output", "-o")
        {
            Description = "Write it there instead of to standard error",
            HelpName = "FILE",
        };
        var command = new Command("exits", "Boot a machine, and at its end list its exits and their cost");
        run.AddOptionsTo(command);
        command.Options.Add(format);
        command.Options.Add(output);
        command.Subcommands.Add(RunCommand.Create(
            run, clock, new RunFigures("Run one command as vmm run does, and list the exits of its machine", [format, output],
                (result, one) => Figures(result, one.Profile, one.Trace))));
        command.SetAction(result =>
        {
            using MachineFigures figures = Figures(result, file: null, run.TraceOf(result));
            return MachineRunner.RunObserved(run.Read(result), clock, figures);
        });
        return command;

        MachineFigures Figures(ParseResult result, string? file, string? trace)
        {
            ProfileFormat? chosen = ParseFormat(result, format);
            return new MachineFigures(clock, ProfileOutput.Open(result.GetValue(output) ?? file, chosen, "--output"), trace);
        }
    }

    private static ProfileFormat? ParseFormat(ParseResult result, Option<string?> format) => result.GetValue(format) switch
    {
        null => null,
        "table" => ProfileFormat.Table,
        "json" => ProfileFormat.Json,
        "folded" => ProfileFormat.Folded,
        { } name => throw CommandLineCheck.Wrong(result.CommandResult.Command, $"--format {name}: no such format; there are table, json and folded"),
    };
}

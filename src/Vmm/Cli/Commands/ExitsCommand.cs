using System.CommandLine;
using Vmm.Host;
using Vmm.Insight.Profile;
using Vmm.Machines;

namespace Vmm.Cli.Commands;

/// <summary><c>vmm exits</c>: boots a machine as vmm without a command does, and tells what its exits were and what they
/// cost.</summary>
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
        var command = new Command("exits", "Boot a machine, and at its end tell what made it leave the guest and what that cost");
        run.AddOptionsTo(command);
        command.Options.Add(format);
        command.Options.Add(output);
        command.SetAction(result =>
        {
            ProfileFormat? chosen = ParseFormat(command, result.GetValue(format));
            MachineSpec options = run.Read(result);
            using var profile = ProfileOutput.Open(result.GetValue(output), chosen, "--output");
            return BootCommand.Run(options, clock, profile, run.TraceOf(result));
        });
        return command;
    }

    private static ProfileFormat? ParseFormat(Command command, string? name) => name switch
    {
        null => null,
        "table" => ProfileFormat.Table,
        "json" => ProfileFormat.Json,
        "folded" => ProfileFormat.Folded,
        _ => throw CommandLineCheck.Wrong(command, $"--format {name}: no such format; there are table, json and folded"),
    };
}

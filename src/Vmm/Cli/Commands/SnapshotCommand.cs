using System.CommandLine;
using System.Globalization;
using System.Text.Json;
using Vmm.Control;
using Vmm.Host;
using Vmm.Machines;
using Vmm.Snapshots;
using Vmm.Text;

namespace Vmm.Cli.Commands;

/// <summary><c>vmm snapshot MACHINE DIR</c>: saves a machine that runs.</summary>
internal static class SnapshotCommand
{
    // Memory and disks become durable meanwhile.
    private static readonly TimeSpan Patience = TimeSpan.FromHours(1);

    public static Command Create()
    {
        var machine = new Argument<string>("MACHINE") { Description = "Its name, or the path of its control socket (--control)" };
        var directory = new Argument<string>("DIR") { Description = "Must not exist yet; 'vmm restore DIR' lets the machine go on from there" };
        var stop = new Option<bool>("--stop") { Description = "End the machine once it is saved: its disks stay as they were then" };
        var live = new Option<bool>("--live") { Description = "Copy memory while the guest runs: it stands still for some milliseconds only" };
        var diff = new Option<string>("--diff")
        {
            Description = "Save only the memory that differs from the snapshot in this directory; 'vmm snapshot merge' makes one of both",
            HelpName = "BASE",
        };
        var command = new Command("snapshot", "Save a machine that runs into a directory");
        command.Arguments.Add(machine);
        command.Arguments.Add(directory);
        command.Options.Add(stop);
        command.Options.Add(live);
        command.Options.Add(diff);
        command.Subcommands.Add(CreateMerge());
        command.SetAction(result =>
        {
            string name = result.GetRequiredValue(machine), target = result.GetRequiredValue(directory);
            string? from = ControlText.Check(result.GetValue(diff));
            ControlText.Check(target);
            var asked = new SnapshotArguments(
                Path.GetFullPath(target), result.GetValue(stop), result.GetValue(live), from is null ? null : Path.GetFullPath(from));
            using var client = ControlClient.ForLongWork(ControlAddress.Resolve(name), name);
            ControlSaved saved = client.Ask(
                "snapshot", JsonSerializer.SerializeToElement(asked, ControlJson.Default.SnapshotArguments), ControlJson.Default.ControlSaved, Patience);
            Stdout.WriteLine($"{target}: {Describe(saved)}");
            if (saved.Note is { } note)
            {
                Stderr.WriteLine($"vmm: {PrintableText.Of(note)}");
            }

            return ExitCodes.Success;
        });
        return command;
    }

    private static Command CreateMerge()
    {
        var before = new Argument<string>("BASE") { Description = "A whole snapshot; it is only read" };
        var diff = new Argument<string>("DIFF") { Description = "What 'vmm snapshot --diff BASE' made; it is only read" };
        var directory = new Argument<string>("DIR") { Description = "Must not exist yet; 'vmm restore DIR' takes it" };
        var command = new Command("merge", "Put a snapshot and a diff to it together to a whole one");
        command.Arguments.Add(before);
        command.Arguments.Add(diff);
        command.Arguments.Add(directory);
        command.SetAction(result =>
        {
            string target = result.GetRequiredValue(directory);
            ulong written = SnapshotMerge.Merge(result.GetRequiredValue(before), result.GetRequiredValue(diff), target);
            Stdout.WriteLine($"{target}: {ByteSize.Format(written)} of memory");
            return ExitCodes.Success;
        });
        return command;
    }

    private static string Describe(ControlSaved saved)
    {
        string longest = saved.Stops < 2 ? "" : string.Create(
            CultureInfo.InvariantCulture, $", {saved.Stops} times, {saved.LongestPause * 1000:0.0} ms at most");
        string held = saved.Held is not { } programs ? "" : string.Create(
            CultureInfo.InvariantCulture, $"; its programs for {programs * 1000:0.0} ms");
        return string.Create(
            CultureInfo.InvariantCulture,
            $"{ByteSize.Format(saved.Memory)} of memory; the guest stood still for {saved.Pause * 1000:0.0} ms{longest}{held}");
    }
}

using System.CommandLine;
using System.Globalization;
using System.Text.Json;
using Vmm.Control;
using Vmm.Machines;
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
        var command = new Command("snapshot", "Save a machine that runs into a directory");
        command.Arguments.Add(machine);
        command.Arguments.Add(directory);
        command.Options.Add(stop);
        command.SetAction(result =>
        {
            string name = result.GetRequiredValue(machine), target = result.GetRequiredValue(directory);
            var asked = new SnapshotArguments(Path.GetFullPath(target), result.GetValue(stop));
            using var client = new ControlClient(ControlAddress.Resolve(name), name);
            JsonElement saved = client.Ask("snapshot", JsonSerializer.SerializeToElement(asked, ControlJson.Default.SnapshotArguments), Patience);
            Stdout.WriteLine(string.Create(
                CultureInfo.InvariantCulture,
                $"{target}: {ByteSize.Format(saved.GetProperty("memory").GetUInt64())} of memory; the guest stood still for "
                    + $"{saved.GetProperty("pause").GetDouble() * 1000:0.0} ms"));
            return ExitCodes.Success;
        });
        return command;
    }
}

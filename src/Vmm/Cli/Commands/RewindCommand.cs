using System.CommandLine;
using System.Globalization;
using Vmm.Control;
using Vmm.Machines;
using Vmm.Text;

namespace Vmm.Cli.Commands;

/// <summary><c>vmm rewind MACHINE</c>: takes a machine that runs back to its last snapshot.</summary>
internal static class RewindCommand
{
    // The first time all of its memory is compared with a file.
    private static readonly TimeSpan Patience = TimeSpan.FromMinutes(10);

    public static Command Create()
    {
        var machine = new Argument<string>("MACHINE") { Description = "Its name, or the path of its control socket (--control)" };
        var command = new Command("rewind", "Take a machine that runs back to its last snapshot");
        command.Arguments.Add(machine);
        command.SetAction(result =>
        {
            string name = result.GetRequiredValue(machine);
            using var client = ControlClient.ForLongWork(ControlAddress.Resolve(name), name);
            ControlRewound done = client.Ask("rewind", null, ControlJson.Default.ControlRewound, Patience);
            Stdout.WriteLine(string.Create(
                CultureInfo.InvariantCulture,
                $"{name}: {ByteSize.Format(done.Memory)} of memory put back; the guest stood still for {done.Pause * 1000:0.0} ms"));
            return ExitCodes.Success;
        });
        return command;
    }
}

using System.CommandLine;
using Vmm.Host;
using Vmm.Machines;
using Vmm.Run.Copy;
using Vmm.Text;

namespace Vmm.Cli.Commands;

/// <summary><c>vmm cp SOURCE DESTINATION</c>: files into a machine that runs, and out of it.</summary>
internal static class CopyCommand
{
    private const string DefaultLimit = "16G";

    public static Command Create()
    {
        var source = new Argument<string>("SOURCE") { Description = "A file or directory: MACHINE:/PATH, or of this host" };
        var destination = new Argument<string>("DESTINATION")
        {
            Description = "Where it goes: a directory that is there takes it in, else it is the new name; MACHINE:/PATH, or of this host",
        };
        var limit = new Option<string>("--limit")
        {
            Description = $"How much may come out of the machine at most; {DefaultLimit} if not given",
            HelpName = "SIZE",
        };
        var command = new Command("cp", "Copy files into a machine of 'vmm run', or out of it");
        command.Arguments.Add(source);
        command.Arguments.Add(destination);
        command.Options.Add(limit);
        command.SetAction(result =>
        {
            string from = result.GetRequiredValue(source), to = result.GetRequiredValue(destination);
            long most = CommandLineCheck.Read(
                command, () => (long)Math.Min(ByteSize.Parse(result.GetValue(limit) ?? DefaultLimit, "--limit"), long.MaxValue / 2));
            (string Machine, string Path)? guestFrom = Split(from), guestTo = Split(to);
            switch (guestFrom, guestTo)
            {
                case ({ } machine, null):
                    Copy(machine.Machine).OutOf(machine.Path, to, most);
                    break;
                case (null, { } machine):
                    Copy(machine.Machine).Into(from, machine.Path);
                    break;
                default:
                    throw CommandLineCheck.Wrong(command, guestFrom is null
                        ? "neither is a machine's: one is MACHINE:/PATH, for instance db:/etc/hosts"
                        : "both are a machine's: copy to this host first");
            }

            return ExitCodes.Success;
        });
        return command;
    }

    private static GuestCopy Copy(string machine) =>
        new(ControlAddress.Resolve(machine), machine, static what => Stderr.WriteLine($"vmm: {what}"));

    /// <summary><c>db:/etc</c> and <c>./db.sock:/etc</c>; null for a file of this host, as <c>a:b</c>.</summary>
    private static (string Machine, string Path)? Split(string word)
    {
        int colon = word.IndexOf(":/", StringComparison.Ordinal);
        return colon > 0 ? (word[..colon], word[(colon + 1)..]) : null;
    }
}

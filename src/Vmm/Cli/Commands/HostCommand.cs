using System.CommandLine;

namespace Vmm.Cli.Commands;

/// <summary><c>vmm host start|status|stop</c>: an emulated host that keeps running, so that <c>--emulated</c> starts at
/// once.</summary>
internal static class HostCommand
{
    public static Command Create()
    {
        var command = new Command("host", "Keep an emulated host running for --emulated");
        Add(command, "start", "Start it; it ends by itself after ten idle minutes, in which no machine runs in it");
        Add(command, "status", "Say whether it runs, which machines run in it, and how much memory it uses; exit code 1 if it does not");
        Add(command, "stop", "Shut down the machines that run in it, then end it and everything in it");
        return command;
    }

    private static void Add(Command to, string action, string description)
    {
        var command = new Command(action, description);
        command.SetAction(_ => EmulatedHost.Manage(action));
        to.Subcommands.Add(command);
    }
}

using System.CommandLine;
using Vmm.Backends.Console;
using Vmm.Backends.Disks;
using Vmm.Backends.Networks;
using Vmm.Backends.Sockets;
using Vmm.Machines;
using Vmm.Snapshots;

namespace Vmm.Cli.Commands;

/// <summary><c>vmm restore DIR</c>: a machine goes on where it was saved.</summary>
internal sealed class RestoreCommand(StartClock clock)
{
    private readonly Argument<string> _directory = new("DIR") { Description = "What 'vmm snapshot' made; it is only read" };

    private readonly Option<string[]> _disk = new("--disk", "-d")
    {
        Description = "The disk image to use instead of the one that the machine had; once for each, in their order",
        HelpName = "PATH[,OPTION...]",
    };

    private readonly Option<string[]> _net = new("--net")
    {
        Description = "What a network card is to be connected to instead; once for each, in their order. It keeps its MAC address",
        HelpName = "MODE[,OPTION...]",
    };

    private readonly Option<string> _vsock = new("--vsock")
    {
        Description = "The socket to use instead for sockets between guest and host",
        HelpName = "PATH[,OPTION...]",
    };

    private readonly Option<string[]> _port = new("--port")
    {
        Description = "The Unix socket to use instead for a stream of bytes; once for each",
        HelpName = "NAME=PATH",
    };

    private readonly Option<string> _name = new("--name")
    {
        Description = "What the machine is called now",
        HelpName = "NAME",
    };

    private readonly Option<bool> _read = new("--read")
    {
        Description = "Read and check all of the memory first, instead of each page when it is touched",
    };

    private readonly Option<string> _stopTimeout = MachineOptions.StopTimeout();

    private readonly Option<bool> _stats = MachineOptions.Stats();

    public static Command Create(StartClock clock) => new RestoreCommand(clock).Create();

    private Command Create()
    {
        var command = new Command("restore", "Let a machine go on where it was saved");
        command.Arguments.Add(_directory);
        foreach (Option option in (Option[])[_disk, _net, _vsock, _port, _name, _read, _stopTimeout, _stats])
        {
            command.Options.Add(option);
        }

        command.SetAction(result =>
        {
            Replacements with = CommandLineCheck.Read(command, () => Read(result));
            TimeSpan stopTimeout = CommandLineCheck.Read(command, () => MachineOptions.Read(result, _stopTimeout));
            using Snapshot snapshot = Snapshot.Open(result.GetRequiredValue(_directory), result.GetValue(_read));
            using Machine machine = snapshot.Restore(
                with, spec => spec with { StopTimeout = stopTimeout, Stats = result.GetValue(_stats) });
            return MachineRunner.Report(machine, MachineRunner.RunToEnd(machine, clock), machine.Spec, clock);
        });
        return command;
    }

    private Replacements Read(ParseResult result) => new()
    {
        Disks = Array.ConvertAll(BootCommand.All(result, _disk), DiskSpec.Parse),
        Nets = Array.ConvertAll(BootCommand.All(result, _net), NetSpec.Parse),
        Vsock = result.GetValue(_vsock) is { } vsock ? VsockSpec.Parse(vsock) : null,
        Ports = PortSpec.Check(Array.ConvertAll(BootCommand.All(result, _port), PortSpec.Parse)),
        Name = result.GetValue(_name) is { } name ? MachineSpec.CheckName(name) : null,
    };
}

using System.CommandLine;
using Vmm.Backends.Console;
using Vmm.Backends.Disks;
using Vmm.Backends.Networks;
using Vmm.Backends.Shares;
using Vmm.Backends.Sockets;
using Vmm.Control;
using Vmm.Host;
using Vmm.Machines;
using Vmm.Run;
using Vmm.Run.Cache;
using Vmm.Run.Results;
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

    private readonly Option<string[]> _share = new("--share")
    {
        Description = "The directory of this host that the guest has at this path from now on; for each that is to be another",
        HelpName = "HOST:GUEST[,rw]",
    };

    private readonly Option<string[]> _port = new("--port")
    {
        Description = "The Unix socket to use instead for a stream of bytes; once for each",
        HelpName = "NAME=PATH",
    };

    private readonly Option<string> _name = new("--name")
    {
        Description = "What the machine is called now: the commands for machines find it by that. A guest of 'vmm run' gets the name as host "
            + "name, other MAC addresses and another machine-id",
        HelpName = "NAME",
    };

    private readonly Option<string> _clock = new("--clock")
    {
        Description = "The guest's time of day: real (the host's; if not given for a guest of 'vmm run', whose agent sets it), or continue "
            + "(that of the snapshot goes on)",
        HelpName = "real|continue",
    };

    private readonly Option<string> _lazy = new("--lazy")
    {
        Description = "How memory comes from the file: map (each page when it is touched; if not given), uffd (a thread brings and checks what is "
            + "touched, and reads the rest meanwhile; where the host forbids userfaultfd it is mapped, and vmm says why), or read (all is read and "
            + "checked before anything runs)",
        HelpName = "map|uffd|read",
    };

    private readonly Option<string> _stopTimeout = MachineOptions.StopTimeout();

    private readonly Option<bool> _stats = MachineOptions.Stats();

    public static Command Create(StartClock clock) => new RestoreCommand(clock).Create();

    private readonly BackgroundOptions _background = new(hasShort: false);

    private Command Create()
    {
        var command = new Command("restore", "Let a machine go on where it was saved");
        command.Arguments.Add(_directory);
        foreach (Option option in (Option[])[_disk, _net, _vsock, _share, _port, _name, _clock, _lazy, _stopTimeout, _stats, .. _background.All])
        {
            command.Options.Add(option);
        }

        command.SetAction(result =>
        {
            Replacements with = CommandLineCheck.Read(command, () => Read(result));
            TimeSpan stopTimeout = CommandLineCheck.Read(command, () => MachineOptions.Read(result, _stopTimeout));
            bool? setsClock = CommandLineCheck.Read(command, () => ParseClock(result.GetValue(_clock)));
            MemoryWay way = CommandLineCheck.Read(command, () => MemoryWays.Parse(result.GetValue(_lazy)));
            using Snapshot snapshot = Snapshot.Open(result.GetRequiredValue(_directory), way);
            MachineSpec spec = snapshot.Head.Machine.ToSpec(with) with { StopTimeout = stopTimeout, Stats = result.GetValue(_stats) };
            bool hasAgent = snapshot.Head.Machine.Agent.Length > 0;
            if (setsClock == true && !hasAgent)
            {
                throw new UsageException("--clock real: this machine is none of 'vmm run', so nothing in it sets its clock when it is told to; "
                    + "'hwclock -s' in the guest does, from a clock that has the host's time");
            }

            return _background.Run(result, spec, hasAgent, life =>
                hasAgent ? GoOn(snapshot, with, spec, setsClock ?? true, life) : GoOn(snapshot, with, spec, life));
        });
        return command;
    }

    private int GoOn(Snapshot snapshot, Replacements with, MachineSpec spec, NamedLife? life)
    {
        MachineSpec here = life?.For(spec) ?? spec;
        if (life?.Fork is { } fork)
        {
            return MachineRunner.Run(here, clock, life.Life, fork);
        }

        using ControlSocket? socket = ControlSocket.Open(here);
        using Machine machine = snapshot.Restore(with, _ => here);
        return MachineRunner.Report(machine, MachineRunner.RunToEnd(machine, clock, life?.Life, socket), machine.Spec, clock);
    }

    /// <summary>With vmm's agent in it.</summary>
    private int GoOn(Snapshot snapshot, Replacements with, MachineSpec spec, bool setsClock, NamedLife? life)
    {
        RunOptions options = SavedRun.Options(snapshot, spec);
        options = life?.For(options) ?? options;
        using ControlSocket? socket = ControlSocket.Open(options.Machine);
        using var recorder = new RunRecorder(options);
        Action<Machine>? up = life is null ? null : machine => life.Life.Up(StartSteps.Of(clock, life.Life, machine.FirstEntry, recorder.Marks));
        ControlServer? Serve(GuestRun run, Machine machine) => socket?.Serve(machine, VersionCommand.Version, run);

        using EndedRun ended = options.Fork is null
            ? SavedRun.Go(snapshot, with, options, recorder, setsClock, up, Serve)
            : RunStart.Go(options, recorder, options.Machine, observer: null, static () => VersionCommand.Version, up, Serve);
        return ended.Run.Complete(ended.End, (verdict, message) =>
        {
            life?.Life.Tell(message);
            ended.Control?.Finish(ControlEvent.Ended(verdict.Outcome.ToString(), verdict.Code, message));
            if (spec.Stats)
            {
                Stderr.Write(RunStatistics.Format(ended.Machine, clock));
            }
        });
    }

    private static bool? ParseClock(string? text) => text switch
    {
        null => null,
        "real" => true,
        "continue" => false,
        _ => throw new UsageException($"--clock {text}: there are real and continue"),
    };

    private Replacements Read(ParseResult result) => new()
    {
        Disks = Array.ConvertAll(BootCommand.All(result, _disk), DiskSpec.Parse),
        Nets = Array.ConvertAll(BootCommand.All(result, _net), NetSpec.Parse),
        Vsock = result.GetValue(_vsock) is { } vsock ? VsockSpec.Parse(vsock) : null,
        Shares = Array.ConvertAll(BootCommand.All(result, _share), ShareSpec.Parse),
        Ports = PortSpec.Check(Array.ConvertAll(BootCommand.All(result, _port), PortSpec.Parse)),
        Name = result.GetValue(_name) is { } name ? MachineSpec.CheckName(name) : null,
    };
}

using System.Diagnostics;
using Vmm.Cli.Commands;
using Vmm.Control;
using Vmm.Host;
using Vmm.Machines;
using Vmm.Named;
using Vmm.Snapshots.Forks;

namespace Vmm.Cli;

/// <summary>Runs a plain machine, from its specification to the exit code.</summary>
internal static class MachineRunner
{
    /// <summary>Runs a machine, and with --on-reboot restart another one after each reboot.</summary>
    /// <param name="fork">What the first one goes on from; null where it boots.</param>
    public static int Run(MachineSpec options, StartClock clock, BackgroundMachine? life, ForkImage? fork = null)
    {
        using ControlSocket? socket = ControlSocket.Open(options);
        CarriedState? next = fork?.CopyOverlays(options);
        try
        {
            while (true)
            {
                using Machine machine = fork is null ? Machine.Build(options, carried: next) : Machine.Restore(options.ForRestore(), fork, carried: next);
                if (fork is not null)
                {
                    fork.Settle(machine);
                }

                fork = null;
                MachineEnd end = RunToEnd(machine, clock, life, socket, options.OnReboot);
                int code = Report(machine, end, options, clock);
                if (IsLast(machine, end, options.OnReboot))
                {
                    return code;
                }

                next?.Dispose();
                next = machine.TakeCarriedState();
                clock = StartClock.Now;
            }
        }
        finally
        {
            next?.Dispose();
        }
    }

    /// <summary>Runs a machine and prints figures about it at its end.</summary>
    /// <returns>The exit code.</returns>
    public static int RunObserved(MachineSpec options, StartClock clock, MachineFigures figures, BackgroundMachine? life = null)
    {
        if (options.OnReboot == RebootAction.Restart)
        {
            throw new UsageException(
                "--on-reboot restart: not together with a profile, a trace or a timeline, which are of one machine; use end");
        }

        using ControlSocket? socket = ControlSocket.Open(options);
        using Machine machine = Machine.Build(figures.For(options), figures.Observer);
        figures.Watch(machine);
        MachineEnd end = RunToEnd(machine, clock, life, socket);
        bool isWhole = figures.Tell(options, machine, end.Summary);
        int code = Report(machine, end, options, clock);
        return isWhole ? code : ExitCodes.HostCannot;
    }

    private static bool IsLast(Machine machine, MachineEnd end, RebootAction onReboot) =>
        end.Kind != MachineEndKind.Reset || machine.IsButtonPressed || onReboot != RebootAction.Restart;

    /// <summary>Runs it until the guest, the user or a signal ends it, and restores the terminal.</summary>
    public static MachineEnd RunToEnd(
        Machine machine, StartClock clock, BackgroundMachine? life = null, ControlSocket? socket = null, RebootAction onReboot = RebootAction.End)
    {
        using ControlServer? control = socket?.Serve(machine, VersionCommand.Version);
        using var signals = new StopSignals(machine.Loop, machine, machine.StopTimeout);
        Stderr.BeginRun();
        try
        {
            life?.Up(StartSteps.Of(clock, life, Stopwatch.GetTimestamp()));
            MachineEnd end = machine.Run(signals);
            if (IsLast(machine, end, onReboot))
            {
                LastSignals.Hold();
            }

            life?.Tell(end.Summary);
            if (end.Kind == MachineEndKind.Stopped)
            {
                Stderr.Patience = TimeSpan.FromSeconds(1);
            }

            control?.Finish(ControlEvent.Ended(end.Kind.ToString(), end.ExitCode, end.Summary));
            return end;
        }
        finally
        {
            Stderr.EndRun();
            machine.Console?.RestoreTerminal();
        }
    }

    /// <summary>Prints the messages at the end, and returns the exit code.</summary>
    public static int Report(Machine machine, MachineEnd end, MachineSpec options, StartClock clock)
    {
        foreach (string error in machine.DiskErrors)
        {
            Stderr.WriteLine($"vmm: {error}");
        }

        if (options.Stats)
        {
            Stderr.Write(RunStatistics.Format(machine, clock));
        }

        // A reboot is no failure: it is mentioned on terminals, not in scripts.
        bool isReboot = end.Kind == MachineEndKind.Reset && (options.Stats || Stderr.IsTerminal);
        if ((end.Message ?? (isReboot ? MachineEnd.Rebooted : null)) is { } message)
        {
            Stderr.WriteLine($"vmm: {message}");
        }

        return end.ExitCode;
    }
}

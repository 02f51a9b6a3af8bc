using System.CommandLine;
using Vmm.Control;
using Vmm.Host;
using Vmm.Machines;
using Vmm.Named;
using Vmm.Named.Limits;

namespace Vmm.Cli.Commands;

/// <summary>Commands about machines that stay: each takes names, prints those that it has done, and says a line of each that it could
/// not, with exit code 1.</summary>
internal static class MachineCommands
{
    /// <summary>What arguments that are names of machines are called; shells complete them.</summary>
    public const string Argument = "MACHINE";

    /// <summary>Exit code where one of several could not be done.</summary>
    public const int SomeFailed = 1;

    public static IReadOnlyList<string> Names { get; } =
        ["ps", "logs", "start", "stop", "kill", "pause", "resume", "restart", "rm", "wait", "rename", "port", "update"];

    /// <param name="add">Adds a command, if it may be needed.</param>
    public static void AddTo(Action<string, Func<Command>> add)
    {
        add("ps", MachineListCommand.Create);
        add("logs", MachineLogsCommand.Create);
        add("start", static () => Simple(
            "start", "Start machines that have ended, each with the command line that it had", Start));
        add("stop", () => WithTimeout("stop", "Shut machines down; kill those that take too long", static (actions, folder, timeout) =>
            actions.Stop(folder, timeout)));
        add("restart", () => WithTimeout("restart", "Stop machines, and start them again", static (actions, folder, timeout) =>
        {
            MachineActions.CheckStays(folder);
            actions.Stop(folder, timeout);
            Start(actions, folder);
        }));
        add("kill", static () => Simple("kill", "End machines at once, as if they lost their power", static (actions, folder) =>
            actions.Kill(folder)));
        add("pause", static () => Simple("pause", "Halt the processors of machines", static (actions, folder) =>
            actions.Halt(folder, "pause")));
        add("resume", static () => Simple("resume", "Have paused machines go on", static (actions, folder) =>
            actions.Halt(folder, "resume")));
        add("rm", CreateRemove);
        add("wait", CreateWait);
        add("rename", CreateRename);
        add("port", CreatePort);
        add("update", CreateUpdate);
    }

    public static Argument<string[]> Machines() => new(Argument)
    {
        Description = "Names of machines, as 'vmm ps -a' lists them",
        Arity = ArgumentArity.OneOrMore,
    };

    /// <summary>Does something to each machine, one after another.</summary>
    /// <param name="act">Throws where it cannot be done.</param>
    /// <returns>The exit code.</returns>
    /// <exception cref="UsageException">One of the names is none: then nothing is done.</exception>
    public static int ForEach(IReadOnlyList<string> names, Action<MachineStore, MachineFolder> act)
    {
        MachineStore store = MachineStore.Default;
        CheckAll(names);
        int code = ExitCodes.Success;
        foreach (string name in names)
        {
            try
            {
                act(store, store.Find(name));
            }
            catch (Exception error) when (error is not ErrnoException { Errno: ErrnoException.EPIPE } && Failures.IsExpected(error))
            {
                Stderr.WriteLine($"vmm: {Failures.Describe(error)}");
                code = SomeFailed;
            }
        }

        return code;
    }

    private static void CheckAll(IEnumerable<string> names)
    {
        foreach (string name in names)
        {
            MachineName.Check(name, "");
        }
    }

    private static MachineActions Actions(MachineStore store) => new(store, static (folder, path, command) =>
    {
        using var client = new ControlClient(path, folder.Name);
        client.Ask(command);
    });

    private static Command Simple(string name, string description, Action<MachineActions, MachineFolder> act)
    {
        Argument<string[]> machines = Machines();
        var command = new Command(name, description);
        command.Arguments.Add(machines);
        command.SetAction(result => ForEach(result.GetRequiredValue(machines), (store, folder) =>
        {
            act(Actions(store), folder);
            Stdout.WriteLine(folder.Name);
        }));
        return command;
    }

    private static Command WithTimeout(string name, string description, Action<MachineActions, MachineFolder, TimeSpan?> act)
    {
        Argument<string[]> machines = Machines();
        var timeout = new Option<string?>("--timeout", "-t")
        {
            Description = "How long the guest may take to shut down; if not given, what --stop-timeout of the machine says; 0 for as long as "
                + "it likes",
            HelpName = "TIME",
        };
        var command = new Command(name, description);
        command.Arguments.Add(machines);
        command.Options.Add(timeout);
        command.SetAction(result =>
        {
            TimeSpan? time = result.GetValue(timeout) is { } text ? Text.TimeSpanText.Parse(text, "--timeout", zeroIsNoLimit: true) : null;
            return ForEach(result.GetRequiredValue(machines), (store, folder) =>
            {
                act(Actions(store), folder, time);
                Stdout.WriteLine(folder.Name);
            });
        });
        return command;
    }

    private static void Start(MachineActions actions, MachineFolder folder)
    {
        MachineStarted started = actions.Start(folder);
        if (started.Code is not null)
        {
            Stderr.Write(started.LastWords);
            throw new HostException($"{folder.Name}: {started.Why}");
        }
    }

    private static Command CreateRemove()
    {
        Argument<string[]> machines = Machines();
        var force = new Option<bool>("--force", "-f") { Description = "Kill those that run; say nothing of those that are not there" };
        var command = new Command("rm", "Remove machines that have ended: their logs, and what they left");
        command.Arguments.Add(machines);
        command.Options.Add(force);
        command.SetAction(result =>
        {
            bool forced = result.GetValue(force);
            string[] names = result.GetRequiredValue(machines);
            CheckAll(names);
            return ForEach(forced ? [.. names.Where(MachineStore.Default.Has)] : names, (store, folder) =>
            {
                Remove(store, folder, forced);
                Stdout.WriteLine(folder.Name);
            });
        });
        return command;
    }

    private static void Remove(MachineStore store, MachineFolder folder, bool forced)
    {
        try
        {
            if (forced && folder.IsRunning)
            {
                Actions(store).Kill(folder);
            }

            store.Remove(folder);
        }
        catch (HostException) when (forced && !store.Has(folder.Name))
        {
            // Somebody else removed it meanwhile.
        }
    }

    private static Command CreateWait()
    {
        Argument<string[]> machines = Machines();
        var command = new Command("wait", "Wait until machines have ended, and print what each ended with");
        command.Arguments.Add(machines);
        command.SetAction(result => ForEach(result.GetRequiredValue(machines), static (_, folder) =>
            Stdout.WriteLine(MachineActions.Wait(folder, stop: -1)!.Value.ToString(System.Globalization.CultureInfo.InvariantCulture))));
        return command;
    }

    private static Command CreateRename()
    {
        var machine = new Argument<string>(Argument) { Description = "A name of a machine" };
        var name = new Argument<string>("NAME") { Description = "What it is to be called" };
        var command = new Command("rename", "Give a machine another name, whether it runs or not");
        command.Arguments.Add(machine);
        command.Arguments.Add(name);
        command.SetAction(result =>
        {
            string given = MachineName.Check(result.GetRequiredValue(name), "");
            return ForEach([result.GetRequiredValue(machine)], (store, folder) =>
            {
                store.Rename(folder, given);
                Stdout.WriteLine(given);
            });
        });
        return command;
    }

    private static Command CreateUpdate()
    {
        Argument<string[]> machines = Machines();
        var limits = new LimitOptions();
        var command = new Command("update", "Give machines other limits, while they run");
        command.Arguments.Add(machines);
        foreach (Option option in limits.All)
        {
            command.Options.Add(option);
        }

        command.SetAction(result =>
        {
            if (limits.Given(result) is null)
            {
                throw new UsageException("nothing to change: give --cpu-limit, --mem-high or --io-limit", "vmm update");
            }

            Func<MachineLimits, MachineLimits> change = limits.Change(result);
            return ForEach(result.GetRequiredValue(machines), (_, folder) =>
            {
                MachineActions.Limit(folder, change);
                Stdout.WriteLine(folder.Name);
            });
        });
        return command;
    }

    private static Command CreatePort()
    {
        var machine = new Argument<string>(Argument) { Description = "A name of a machine" };
        var command = new Command("port", "List the ports of this host that lead into a machine");
        command.Arguments.Add(machine);
        command.SetAction(result => ForEach([result.GetRequiredValue(machine)], static (_, folder) =>
        {
            foreach (string port in MachineStore.ReadOrExplain(folder).Ports)
            {
                int colon = port.LastIndexOf(':');
                string host = port[..colon];
                Stdout.WriteLine($"{port[(colon + 1)..]} -> {(host.Contains(':', StringComparison.Ordinal) ? host : "*:" + host)}");
            }
        }));
        return command;
    }
}

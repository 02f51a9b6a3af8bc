using System.CommandLine;
using System.CommandLine.Parsing;
using System.Globalization;
using Vmm.Backends.Networks;
using Vmm.Host;
using Vmm.Machines;
using Vmm.Named;
using Vmm.Named.Limits;
using Vmm.Snapshots;
using Vmm.Snapshots.Forks;

namespace Vmm.Cli.Commands;

/// <summary>What has a machine stay in the background under a name: --detach, --restart. The same for a plain machine and one of
/// vmm run.</summary>
internal sealed class BackgroundOptions
{
    public const string Detach = "--detach", ShortDetach = "-d";

    private const string Restart = "--restart", ForkPort = "--fork-port";

    private const int UsualForks = 16, MostForks = 1000;

    private readonly Option<bool> _detach;

    private readonly Option<string> _restart = new(Restart)
    {
        Description = "With --detach, when the machine ends: no (if not given), on-failure, N times at most in a row, or always: start it "
            + "again, after a while that grows, until 'vmm stop' ends it",
        HelpName = "no|on-failure[:N]|always",
    };

    private readonly LimitOptions _limits = new();

    private readonly Option<string> _directory = new(MachineStart.Option)
    {
        Description = "Given by vmm to a machine that it starts in the background: where its state is",
        HelpName = "DIRECTORY",
        Hidden = true,
    };

    private readonly Option<string?> _forkPort = new(ForkPort)
    {
        Description = "With --detach, let the guest fork its machine: by /run/vmm-fork, or by a port (docs/snapshots.md). At most so many "
            + "forks in all; 16 if not given",
        HelpName = "N",
        Arity = ArgumentArity.ZeroOrOne,
    };

    private readonly Option<string> _fork = new(MachineStart.ForkOption)
    {
        Description = "Given by vmm to a machine that it forks: which of the forks it is",
        HelpName = "NUMBER",
        Hidden = true,
    };

    private readonly Option<string> _forkName = new(MachineStart.NameOption)
    {
        Description = "Given by vmm to a machine that was forked: its name, instead of that of --name",
        HelpName = "NAME",
        Hidden = true,
    };

    /// <param name="hasShort">Is -d free for it? In front of a command it is --disk.</param>
    public BackgroundOptions(bool hasShort) => _detach = new Option<bool>(Detach, hasShort ? [ShortDetach] : [])
    {
        Description = "Leave the machine in the background, under its --name or one of two words, and print that once it is up",
    };

    public IEnumerable<Option> All => [_detach, _restart, _forkPort, .. _limits.All, _directory, _fork, _forkName];

    /// <summary>Of the command line only: no target of vmm.json has them.</summary>
    public static IReadOnlyList<string> Names => [Detach, Restart, ForkPort, .. LimitOptions.Names, MachineStart.Option, MachineStart.ForkOption, MachineStart.NameOption];

    /// <summary>Is the machine to stay, so that nothing of it belongs to who starts it?</summary>
    public bool IsAsked(ParseResult result) => result.GetValue(_detach);

    /// <summary>Does it go on from a copy of another machine, so that it needs no kernel?</summary>
    public bool IsFork(ParseResult result) => result.GetValue(_fork) is not null;

    /// <summary>Runs a machine here, where others find it by its name if it has one, or leaves it in the background.</summary>
    /// <param name="spec">The machine, checked.</param>
    /// <param name="hasAgent">Is it one of vmm run?</param>
    /// <param name="live">Runs it here to its end.</param>
    /// <returns>The exit code.</returns>
    public int Run(ParseResult result, MachineSpec spec, bool hasAgent, Func<NamedLife?, int> live)
    {
        if (result.GetValue(_directory) is { } directory)
        {
            using EarlySignals machine = EarlySignals.Begin();
            return Live(result, spec, directory, live);
        }

        if (result.GetResult(_forkName) is not null || IsFork(result))
        {
            throw new UsageException($"{MachineStart.NameOption}: is for vmm itself; 'vmm fork' forks machines");
        }

        if (!IsAsked(result))
        {
            string? alone = result.GetResult(_restart) is not null ? Restart
                : result.GetResult(_forkPort) is not null ? ForkPort
                : _limits.Given(result);
            using EarlySignals here = EarlySignals.Begin();
            return alone is not null ? throw new UsageException($"{alone}: goes with {Detach}")
                : spec.Name is { } name && !IsInEmulatedHost ? RunNamed(spec, name, hasAgent, live)
                : live(null);
        }

        ReadForks(result);
        return StartNew(
            spec, hasAgent, RestartPolicy.Parse(result.GetValue(_restart) ?? RestartPolicy.NoText), _limits.Change(result)(MachineLimits.None));
    }

    /// <returns>How many forks the guest may ask for; null for no port.</returns>
    private int? ReadForks(ParseResult result)
    {
        if (result.GetResult(_forkPort) is null)
        {
            return null;
        }

        string? text = result.GetValue(_forkPort);
        return text is null ? UsualForks
            : int.TryParse(text, NumberStyles.None, CultureInfo.InvariantCulture, out int most) && most is > 0 and <= MostForks ? most
            : throw new UsageException($"{ForkPort} {text}: takes the most forks that the guest may ask for, 1 to {MostForks}");
    }

    /// <summary>This process is the machine's: whatever happens is told in its log and its record.</summary>
    private int Live(ParseResult result, MachineSpec spec, string directory, Func<NamedLife?, int> live)
    {
        using BackgroundMachine life = BackgroundMachine.Enter(MachineStart.Option, directory);
        return life.Finish(Tell(life, () =>
        {
            using ForkImage? fork = result.GetValue(_fork) is { } number
                ? ForkImage.TakeOver(ForkNumber.Parse(number), Overlays.Of(ForkWriter.OfForks(spec)).Count)
                : null;
            return live(new NamedLife(life, result.GetValue(_forkName), fork, ReadForks(result)));
        }));
    }

    /// <returns>The exit code, whatever happens.</returns>
    private static int Tell(BackgroundMachine life, Func<int> live)
    {
        try
        {
            return live();
        }
        catch (Exception error)
        {
            life.Tell(Failures.Describe(error));
            return LastWords.Tell(error);
        }
    }

    /// <summary>In the foreground: others find it by its name as long as it runs.</summary>
    private static int RunNamed(MachineSpec spec, string name, bool hasAgent, Func<NamedLife?, int> live)
    {
        MachineStore store = MachineStore.Default;
        Func<string, MachineRecord> records = Records(
            store, spec, hasAgent, OwnCommandLine.Read().Arguments, RestartPolicy.Parse(RestartPolicy.NoText), MachineLimits.None);
        (MachineRecord record, (MachineFolder folder, FileDescriptor held)) =
            Create(store, name, each => BackgroundMachine.OfThisProcess(records(each) with { Foreground = true }));
        return BackgroundMachine.RunHere(store, folder, record, held, machine => Tell(
            machine, () => live(new NamedLife(machine, ForkName: null, Fork: null))));
    }

    private static bool IsInEmulatedHost => Environment.GetEnvironmentVariable(EmulatedHost.InsideVariable) is "1";

    private static int StartNew(MachineSpec spec, bool hasAgent, RestartPolicy policy, MachineLimits limits)
    {
        MachineStore store = MachineStore.Default;
        if (IsInEmulatedHost)
        {
            throw new UsageException($"{Detach}: not in an emulated host that ends with this command; use vmm --emulated");
        }

        if (spec.Control is not null)
        {
            throw new UsageException($"--control: not with {Detach}: a machine in the background has a control socket, which its name finds");
        }

        (MachineRecord record, (MachineFolder folder, FileDescriptor life)) =
            Create(store, spec.Name, Records(store, spec, hasAgent, Words(), policy, limits));
        try
        {
            return Finish(store, folder, MachineStart.Start(folder, record, life));
        }
        catch
        {
            if (!folder.IsRunning)
            {
                store.Remove(folder);       // there was no process
            }

            throw;
        }
    }

    /// <summary>Makes the directory of a machine.</summary>
    /// <param name="given">Its name; null for two words.</param>
    private static (MachineRecord Record, (MachineFolder Folder, FileDescriptor Life) Made) Create(
        MachineStore store, string? given, Func<string, MachineRecord> records)
    {
        while (true)
        {
            MachineRecord record = records(given is null ? MachineName.Invent(store.Has) : MachineName.Check(given, "--name"));
            if (store.TryCreate(record) is { } made)
            {
                return (record, made);
            }

            if (given is not null && !store.TryRemoveDeadForeground(given))
            {
                throw MachineStore.Taken(given);
            }
        }
    }

    /// <summary>The record of a machine, by its name.</summary>
    private static Func<string, MachineRecord> Records(
        MachineStore store, MachineSpec spec, bool hasAgent, IReadOnlyList<string> words, RestartPolicy policy, MachineLimits limits) => name => new()
        {
            Version = MachineRecord.CurrentVersion,
            Name = name,
            CommandLine = spec.Name is not null ? words
                : words is [("run" or "restore") and var command, ..] ? [command, "--name", name, .. words.Skip(1)] : ["--name", name, .. words],
            Directory = WorkingDirectory.Text,
            HasAgent = hasAgent,
            Kernel = spec.Kernel,
            Memory = spec.Memory,
            Cpus = spec.Cpus,
            Ports = [.. spec.Nets.SelectMany(static net => net.Published).Select(static port => port.ToPasst().Replace('/', ':'))],
            Restart = policy.ToString(),
            Limits = limits,
            StopTimeout = spec.StopTimeout.TotalSeconds,
            Runtime = store.Runtime,
            Created = DateTimeOffset.UtcNow,
        };

    /// <summary>This command line, to be kept as text.</summary>
    private static IReadOnlyList<string> Words()
    {
        IReadOnlyList<string> words = OwnCommandLine.Read().Arguments;
        return words.FirstOrDefault(static word => word.Contains('\ufffd', StringComparison.Ordinal)) is { } strange
            ? throw new UsageException($"{Detach}: '{strange}' is not UTF-8, and cannot be kept; give the file another name")
            : words;
    }

    private static int Finish(MachineStore store, MachineFolder folder, MachineStarted started)
    {
        if (started.Code is not { } code)
        {
            Stdout.WriteLine(folder.Name);
            return ExitCodes.Success;
        }

        // Nothing came of it, and nothing is left of it.
        store.Remove(folder);
        Stderr.Write(started.LastWords);
        Stderr.WriteLine(string.Create(CultureInfo.InvariantCulture, $"vmm: {folder.Name}: {started.Why}"));
        return code;
    }
}

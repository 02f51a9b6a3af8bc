using System.CommandLine;
using System.CommandLine.Parsing;
using Vmm.Backends.Console;
using Vmm.Control;
using Vmm.Host;
using Vmm.Kernels;
using Vmm.Kvm;
using Vmm.Machines;
using Vmm.Named;
using Vmm.Run;
using Vmm.Run.Cache;
using Vmm.Run.Many;
using Vmm.Run.Many.Slurm;
using Vmm.Run.Results;
using Vmm.Run.Roots;
using Vmm.Text;

namespace Vmm.Cli.Commands;

/// <summary><c>vmm run -- COMMAND</c>: one command in a throw-away machine.</summary>
internal sealed class RunCommand(BootCommand boot, StartClock clock, RunFigures? figures)
{
    private const string DefaultPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

    /// <summary>The environment with busybox alone: it is in /bin, and so is its root's home.</summary>
    private static readonly Dictionary<string, string> OfBusybox = new(StringComparer.Ordinal)
    {
        ["PATH"] = "/bin:/sbin:/usr/bin:/usr/sbin:/usr/local/bin:/usr/local/sbin",
        ["HOME"] = "/root",
    };

    private readonly Argument<string[]> _command = new("COMMAND")
    {
        Description = "The program and its arguments, behind --; in front of it targets of vmm.json",
        Arity = ArgumentArity.ZeroOrMore,
    };

    /// <summary>The files of kernels by name: several targets may use the same one.</summary>
    private readonly Dictionary<string, string> _kernels = new(StringComparer.Ordinal);

    /// <summary>Kernels for which the warning of a slow boot was given.</summary>
    private readonly HashSet<string> _slow = new(StringComparer.Ordinal);

    private readonly RunRootOptions _root = new();

    private readonly RunReportOptions _reports = new();

    private readonly RunManyOptions _many = new();

    private readonly BackgroundOptions _background = new(hasShort: true);

    private readonly Option<string[]> _initrd = new("--initrd")
    {
        Description = "An initramfs for the guest, beside vmm's own; may be given several times",
        HelpName = "FILE",
    };

    private readonly Option<bool> _interactive = new("--interactive", "-i")
    {
        Description = "Accepted for compatibility: standard input always goes to the command",
    };

    private readonly Option<bool> _tty = new("--tty", "-t", "-it", "-ti")
    {
        Description = "Give the command a terminal; Ctrl-C three times within a second ends the machine",
    };

    private readonly Option<string[]> _env = new("--env", "-e")
    {
        Description = "A variable for the command; NAME alone passes that of this environment; may be given several times",
        HelpName = "NAME[=VALUE]",
    };

    private readonly Option<string> _user = new("--user", "-u")
    {
        Description = "Who runs the command, by name or number; root if not given",
        HelpName = "USER[:GROUP]",
    };

    private readonly Option<string> _workdir = new("--workdir", "-w")
    {
        Description = "Where the command starts, in the guest",
        HelpName = "DIRECTORY",
    };

    private readonly Option<string> _hostname = new("--hostname")
    {
        Description = "The guest's host name; vmm if not given",
        HelpName = "NAME",
    };

    private readonly Option<string> _timeout = new("--timeout")
    {
        Description = "End the command after so long, with exit code 124",
        HelpName = "TIME",
    };

    private readonly Option<string> _bootTimeout = new("--boot-timeout")
    {
        Description = "How long the guest may take until the command can start; 60s if not given, more where guests are slow",
        HelpName = "TIME",
    };

    private readonly Option<bool> _console = new("--console", "--verbose", "-v")
    {
        Description = "Show the kernel's messages on standard error",
    };

    private readonly Option<bool> _cold = new("--cold")
    {
        Description = "Boot, instead of going on from where a run of the same kernel and machine had booted",
    };

    private readonly Option<string> _cacheEntries = new("--cache-entries")
    {
        Description = "Keep so many machines that booted alike, and use each so often before another boots; 1,uses=1000 if not given",
        HelpName = "N[,uses=M]",
    };

    private readonly Option<bool> _virtmeCodes = new("--virtme-codes")
    {
        Description = "Exit codes as virtme-ng has them: 255 for a kernel panic",
    };

    /// <param name="figures">The figures to print of each machine; null for those of --profile and --trace.</param>
    public static Command Create(BootCommand boot, StartClock clock, RunFigures? figures = null)
    {
        var command = new Command("run", figures?.Description ?? "Run one command in a throw-away machine, and end with its exit code");
        new RunCommand(boot, clock, figures).Fill(command);
        return command;
    }

    private void Fill(Command command)
    {
        foreach (Option option in (Option[])
            [.. figures?.Options ?? [], .. _root.All, _initrd, _interactive, _tty, _env, _user, _workdir, _hostname, _timeout, _bootTimeout, _console, _cold, _cacheEntries, _virtmeCodes, .. _reports.All, .. _many.All, .. figures is null ? _background.All : []])
        {
            command.Options.Add(option);
        }

        boot.AddRunOptionsTo(command);
        command.Arguments.Add(_command);
        command.SetAction(Execute);
    }

    private int Execute(ParseResult result)
    {
        (RunOptions? one, ManyOptions? many) = CommandLineCheck.Read(result.CommandResult.Command, () => _many.Read(result, _command, Read));
        if (one is not null && figures is not null)
        {
            return RunOne(one, () => figures.Open(result, one), life: null);
        }

        if (one is not null)
        {
            // Of many only the command that starts them has that name.
            return _background.Run(result, one.Reports.IsOneOfMany ? one.Machine with { Name = null } : one.Machine, hasAgent: true, life =>
            {
                one = life?.For(one) ?? one;
                return RunOne(
                    one, () => new MachineFigures(clock, BootCommand.OpenProfile(one.HasProfile, one.Profile), one.Trace), life?.Life);
            });
        }

        if (figures is null && _background.IsAsked(result))
        {
            throw new UsageException("--detach: leaves one machine in the background, not many");
        }

        return figures is null
            ? RunMany(many!)
            : throw new UsageException(
                $"{CommandTree.PathOf(result.CommandResult.Command)}: is for one machine; with several, each writes its own: "
                    + "vmm run --profile=exits-{#}.json --trace=trace-{#}.json --each ...");
    }

    private int RunOne(RunOptions options, Func<MachineFigures> open, BackgroundMachine? life)
    {
        using var recorder = new RunRecorder(options);
        try
        {
            using MachineFigures told = open();
            return Run(options, recorder, told, life);
        }
        catch (UsageException error)
        {
            recorder.Finish(new RunVerdict(RunOutcome.NotStarted, ExitCodes.Usage, error.Message), entered: 0, console: []);
            throw;
        }
        catch (StoppedException error)
        {
            recorder.Finish(RunVerdict.StoppedBy(error.Signal), entered: 0, console: []);
            throw;
        }
        catch (Exception error) when (error is HostException or ErrnoException or IOException)
        {
            string why = Failures.Describe(error);
            life?.Tell(why);
            Stderr.WriteLine($"vmm: {why}");
            return recorder.Finish(RunVerdict.Failed(why), entered: 0, console: []).Code;
        }
    }

    private static int RunMany(ManyOptions many)
    {
        if (many.Items.Count == 0)
        {
            Stderr.WriteLine("vmm: --shard: this shard has no items");
        }

        if (many.Place is { } place && many.Items.Count > 0)
        {
            using var jobs = new SlurmRuns(many, place);
            return jobs.Run();
        }

        using var runs = new ManyRuns(many);
        return runs.Run();
    }

    private int Run(RunOptions options, RunRecorder recorder, MachineFigures told, BackgroundMachine? life)
    {
        using ControlSocket? socket = ControlSocket.Open(options.Machine);
        using PackedRoot? packed = options.Fork is null ? PackedRoot.Make(options.Root) : null;
        MachineSpec asked = told.For(options.Machine);
        bool boots = options.IsCold || (life is null && socket is not null);
        using EndedRun ended = RunStart.Go(
            options with { IsCold = boots }, recorder, packed is null ? asked : asked with { Disks = [packed.Disk, .. asked.Disks] },
            told.Observer, static () => VersionCommand.Version, life is null ? null : machine => life.Up(StartSteps.Of(clock, life, machine.FirstEntry, recorder.Marks)),
            (run, machine) => socket?.Serve(machine, VersionCommand.Version, run));
        bool isWhole = true;
        int code = ended.Run.Complete(ended.End, (verdict, message) =>
        {
            life?.Tell(message);
            ended.Control?.Finish(ControlEvent.Ended(verdict.Outcome.ToString(), verdict.Code, message));
            isWhole = told.Tell(asked, ended.Machine, message, recorder.Marks);
            if (asked.Stats)
            {
                Stderr.Write(RunStatistics.Format(ended.Machine, clock));
            }
        });
        return isWhole || code != ExitCodes.Success ? code : RunVerdict.VmmFailed;
    }

    private RunOptions Read(ParseResult result)
    {
        string[] command = result.GetValue(_command) ?? [];
        if (command.Length == 0 && !(figures is null && _background.IsAsked(result)))
        {
            throw new UsageException("no command given: vmm run --kernel bzImage -- uname -a");
        }

        if (command.Any(word => word.Contains('\0', StringComparison.Ordinal)))
        {
            throw new UsageException("a word of the command holds a NUL character");
        }

        MachineSpec machine = boot.ReadUnresolved(result) with { Initrds = BootCommand.All(result, _initrd) };
        RunRoot root = _root.Read(result);
        if (result.GetValue(_tty) && figures is null && _background.IsAsked(result))
        {
            throw new UsageException("-t: a machine in the background has no terminal; leave it out");
        }

        (bool hasProfile, string? profile) = boot.ProfileOf(result);
        RunOptions options = new()
        {
            Machine = RunRootOptions.AddTo(machine, root),
            Root = root,
            Command = command,
            Environment = EnvironmentOf(result, isBusybox: root.Kind == RootKind.Busybox),
            Inherited = [.. GuestVariables.Inherited(BootCommand.All(result, _env))],
            User = result.GetValue(_user),
            Directory = result.GetValue(_workdir) ?? RunRootOptions.WorkDirectory(root),
            Hostname = CheckHostname(result.GetValue(_hostname) ?? "vmm"),
            Terminal = result.GetValue(_tty),
            Timeout = result.GetValue(_timeout) is { } timeout ? TimeSpanText.Parse(timeout, "--timeout") : null,
            BootTimeout = result.GetValue(_bootTimeout) is { } patience ? TimeSpanText.Parse(patience, "--boot-timeout") : null,
            ShowConsole = result.GetValue(_console),
            IsCold = result.GetValue(_cold) || Environment.GetEnvironmentVariable("VMM_COLD") is { Length: > 0 } and not "0",
            CacheEntries = result.GetValue(_cacheEntries) is { } entries ? CacheEntries.Parse(entries) : new CacheEntries(),
            VirtmeCodes = result.GetValue(_virtmeCodes),
            Reports = _reports.Read(result),
            HasProfile = hasProfile,
            Profile = profile,
            Trace = boot.TraceOf(result),
            Exec = clock.Exec,
        };
        return _background.IsFork(result) ? options : WithKernel(options);
    }

    /// <summary>Resolved last, because a kernel by name may have to be fetched.</summary>
    private RunOptions WithKernel(RunOptions options)
    {
        KernelStore store = KernelStore.Default;
        string given = options.Machine.Kernel;
        if (!_kernels.TryGetValue(given, out string? path))
        {
            _kernels[given] = path = given.Length > 0 ? KernelNames.Resolve(given, store) : KernelNames.Default(store, HostKernel.Find());
        }

        options = options with { Machine = options.Machine with { Kernel = path } };
        if (store.Owner(path) is not { } kernel)
        {
            GuestModules.CheckBuiltIn(path, RunModules.NeededBy(options), mayLoad: options.Machine.Initrds.Count > 0);
            return options;
        }

        if (HostKinds.Detect() == HostKind.Pvm && !options.Reports.IsOneOfMany && _slow.Add(path))
        {
            Stderr.WriteLine($"vmm: this PVM host emulates guests' kernels: {kernel.Release} may take a quarter of an hour to boot; "
                + "'make guest' in vmm's source tree builds one that takes seconds (--kernel reference)");
        }

        return options with { Modules = [.. GuestModules.FilesFor(kernel, RunModules.NeededBy(options)).Select(kernel.ModulePath)] };
    }

    private static string CheckHostname(string name) =>
        name.Length is > 0 and <= 64 && name.All(each => char.IsAsciiLetterOrDigit(each) || each is '-' or '.')
            ? name
            : throw new UsageException($"--hostname {name}: takes 1 to 64 letters, digits, '-' and '.'");

    /// <summary>The variables that every command gets, and the user's; of a name that is given twice the last.</summary>
    private string[] EnvironmentOf(ParseResult result, bool isBusybox)
    {
        Dictionary<string, string> values = isBusybox
            ? new(OfBusybox, StringComparer.Ordinal)
            : new(StringComparer.Ordinal) { ["PATH"] = DefaultPath };
        if (result.GetValue(_user) is not null)
        {
            values.Remove("HOME");      // the agent sets that of the user
        }

        if (result.GetValue(_tty))
        {
            values["TERM"] = GuestVariables.Term;
        }

        foreach ((string name, string value) in GuestVariables.Read(BootCommand.All(result, _env)))
        {
            values[name] = value;
        }

        return [.. values.Select(pair => $"{pair.Key}={pair.Value}")];
    }
}

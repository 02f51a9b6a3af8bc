using System.CommandLine;
using System.CommandLine.Parsing;
using Vmm.Backends.Console;
using Vmm.Backends.Disks;
using Vmm.Backends.Shares;
using Vmm.Host;
using Vmm.Machines;
using Vmm.Run;
using Vmm.Text;

namespace Vmm.Cli.Commands;

/// <summary><c>vmm run -- COMMAND</c>: one command in a throw-away machine.</summary>
internal sealed class RunCommand(BootCommand boot, StartClock clock)
{
    private const string RootTag = "vmm-root";
    private const string DefaultPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

    private readonly Argument<string[]> _command = new("COMMAND")
    {
        Description = "The program and its arguments, behind --",
        Arity = ArgumentArity.ZeroOrMore,
    };

    private readonly Option<string> _root = new("--root")
    {
        Description = "The guest's root file system: none (busybox from this host), a directory such as /, or a disk image; "
            + "what the guest changes is thrown away",
        HelpName = "none|DIRECTORY|FILE",
    };

    private readonly Option<string> _keep = new("--keep")
    {
        Description = "Keep the changes to the root image in this file, and go on from what is in it",
        HelpName = "PATH",
    };

    private readonly Option<bool> _rw = new("--rw")
    {
        Description = "With a directory as root: let the command write to this working directory, which is under the same path there",
    };

    private readonly Option<string[]> _initrd = new("--initrd")
    {
        Description = "An initramfs for the guest, beside vmm's own; may be given several times",
        HelpName = "FILE",
    };

    private readonly Option<bool> _interactive = new("--interactive", "-i")
    {
        Description = "Accepted for the habit: standard input always goes to the command",
    };

    private readonly Option<bool> _tty = new("--tty", "-t", "-it", "-ti")
    {
        Description = "Give the command a terminal; Ctrl-C three times within a second ends the machine",
    };

    private readonly Option<string[]> _env = new("--env", "-e")
    {
        Description = "A variable for the command, or one of this environment; may be given several times",
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

    private readonly Option<bool> _virtmeCodes = new("--virtme-codes")
    {
        Description = "Exit codes as virtme-ng has them: 255 for a kernel panic",
    };

    public static Command Create(BootCommand boot, StartClock clock)
    {
        var command = new Command("run", "Run one command in a throw-away machine, and end with its exit code");
        new RunCommand(boot, clock).Fill(command);
        return command;
    }

    private void Fill(Command command)
    {
        foreach (Option option in (Option[])
            [_root, _keep, _rw, _initrd, _interactive, _tty, _env, _user, _workdir, _hostname, _timeout, _bootTimeout, _console, _virtmeCodes])
        {
            command.Options.Add(option);
        }

        boot.AddRunOptionsTo(command);
        command.Arguments.Add(_command);
        command.SetAction(Execute);
    }

    private int Execute(ParseResult result)
    {
        RunOptions options = CommandLineCheck.Read(result.CommandResult.Command, () => Read(result));
        try
        {
            using Machine machine = Machine.Build(options.Machine, guest: new GuestRun(options));
            MachineEnd end = machine.Run();
            if (options.Machine.Stats)
            {
                Stderr.Write(RunStatistics.Format(machine, clock));
            }

            return ((GuestRun)machine.Guest!).Complete(end);
        }
        catch (Exception error) when (error is HostException or ErrnoException or IOException)
        {
            Stderr.WriteLine($"vmm: {Failures.Describe(error)}");
            return RunVerdict.VmmFailed;
        }
    }

    private RunOptions Read(ParseResult result)
    {
        string[] command = result.GetValue(_command) ?? [];
        if (command.Length == 0)
        {
            throw new UsageException("no command given: vmm run --kernel bzImage -- uname -a");
        }

        if (command.Any(word => word.Contains('\0', StringComparison.Ordinal)))
        {
            throw new UsageException("a word of the command holds a NUL character");
        }

        MachineOptions machine = boot.Read(result) with { Initrds = BootCommand.All(result, _initrd) };
        string? root = result.GetValue(_root);
        string? keep = result.GetValue(_keep);
        bool isDirectory = root is not (null or "none") && Directory.Exists(root);
        bool isDisk = root is not (null or "none") && !isDirectory;
        string? workdir = result.GetValue(_workdir);
        bool isWritable = result.GetValue(_rw);
        if (isWritable && !isDirectory)
        {
            throw new UsageException("--rw: only with a directory as root; --share .:/work,rw shares one with any other");
        }

        if (isDirectory && keep is null)
        {
            workdir ??= Environment.CurrentDirectory;
            machine = machine with { Shares = [.. RootShares(root!, isWritable), .. machine.Shares] };
        }
        else if (isDisk)
        {
            machine = machine with { Disks = [RootDisk(root!, keep), .. machine.Disks] };
        }
        else if (keep is not null)
        {
            throw new UsageException("--keep: there is no root image whose changes could be kept; give one with --root FILE");
        }

        return new RunOptions
        {
            Machine = machine,
            Command = command,
            Environment = EnvironmentOf(result),
            User = result.GetValue(_user),
            Directory = workdir,
            Hostname = CheckHostname(result.GetValue(_hostname) ?? "vmm"),
            RootIsDisk = isDisk,
            RootTag = isDirectory ? RootTag : null,
            KeepsRoot = keep is not null,
            Terminal = result.GetValue(_tty),
            Timeout = result.GetValue(_timeout) is { } timeout ? TimeSpanText.Parse(timeout, "--timeout") : null,
            BootTimeout = result.GetValue(_bootTimeout) is { } patience ? TimeSpanText.Parse(patience, "--boot-timeout") : null,
            ShowConsole = result.GetValue(_console),
            VirtmeCodes = result.GetValue(_virtmeCodes),
        };
    }

    /// <summary>The tree that becomes /, and this working directory where it is not in it, or is to be written to.</summary>
    private static IEnumerable<ShareSpec> RootShares(string root, bool isWritable)
    {
        string here = Environment.CurrentDirectory;
        yield return new ShareSpec(root, "/", IsWritable: false, RootTag);
        if (here != "/" && (isWritable || Path.GetFullPath(root) != "/"))
        {
            yield return new ShareSpec(here, here, isWritable, "vmm-work");
        }
    }

    private static DiskSpec RootDisk(string path, string? keep) => new(path)
    {
        Format = DiskFormats.OfName(path),
        Ephemeral = keep is null,
        Overlay = keep,
    };

    private static string CheckHostname(string name) =>
        name.Length is > 0 and <= 64 && name.All(each => char.IsAsciiLetterOrDigit(each) || each is '-' or '.')
            ? name
            : throw new UsageException($"--hostname {name}: takes 1 to 64 letters, digits, '-' and '.'");

    /// <summary>What every command gets, and what the user gave; of a name that came twice the last.</summary>
    private string[] EnvironmentOf(ParseResult result)
    {
        var values = new Dictionary<string, string>(StringComparer.Ordinal) { ["PATH"] = DefaultPath };
        if (result.GetValue(_tty))
        {
            values["TERM"] = Environment.GetEnvironmentVariable("TERM") ?? "linux";
        }

        foreach (string each in BootCommand.All(result, _env))
        {
            (string name, string? value) = OptionText.Parse(each);
            if (name.Length == 0)
            {
                throw new UsageException($"--env {each}: no name; write --env NAME=VALUE");
            }

            value ??= Environment.GetEnvironmentVariable(name);
            if (value is not null)
            {
                values[name] = value;
            }
        }

        return [.. values.Select(pair => $"{pair.Key}={pair.Value}")];
    }
}

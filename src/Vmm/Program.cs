using System.CommandLine;
using Vmm.Boot;
using Vmm.Cli;
using Vmm.Cli.Commands;
using Vmm.Host;
using Vmm.Machines;

if (EmulatedHost.IsAskedFor(args))
{
    return EmulatedHost.Run(args.Length);
}

var clock = new StartClock();
args = FileNames.Arguments(args);

// Every thread would map an arena of its own for malloc(3), which hardly anything here calls.
_ = LibC.Mallopt(LibC.M_ARENA_MAX, 1);
Command root = RootFor(args, "Boots a Linux kernel in a throw-away virtual machine.");
var run = new RunCommand();
run.AddTo(root, clock);
root.Subcommands.Add(ExitsCommand.Create(run, clock));
root.Subcommands.Add(BootTimelineCommand.Create(run, clock));
root.Subcommands.Add(CheckCommand.Create());
root.Subcommands.Add(InspectCommand.Create());
root.Subcommands.Add(DiskCommand.Create());
root.Subcommands.Add(CompletionCommand.Create());
root.Subcommands.Add(HostCommand.Create());
root.Options.Add(new Option<bool>(EmulatedHost.Option) { Description = EmulatedHost.Description, Recursive = true });

// The library's own handler would print a stack trace.
var invocation = new InvocationConfiguration { EnableDefaultExceptionHandler = false, ProcessTerminationTimeout = null };
try
{
    IgnoredSignals.IgnoreResourceSignals();
    StandardStreams.Check();
    ParseResult result = root.Parse(args);
    if (result.Errors.Count > 0)
    {
        // The library lists what there is to choose from on lines of their own.
        string message = result.Errors[0].Message.ReplaceLineEndings(" ").Replace("\t", "", StringComparison.Ordinal);
        Stderr.WriteLine($"vmm: {message} ('vmm --help' tells more)");
        return ExitCodes.Usage;
    }

    return result.Invoke(invocation);
}
catch (Exception error) when (error is UsageException or BootException or CpuModelException)
{
    Stderr.WriteLine($"vmm: {error.Message}");
    return ExitCodes.Usage;
}
catch (Exception error)
{
    // Caught whatever it is: uncaught, nothing on the way out would be put right, the terminal among it.
    Stderr.WriteLine($"vmm: {Failures.Describe(error)}");
    if (Failures.IsExpected(error))
    {
        return ExitCodes.HostCannot;
    }

    Stderr.WriteLine(error.ToString());
    return ExitCodes.InternalError;
}
finally
{
    Stderr.Finish();
}

// RootCommand brings --help, --version and [suggest] along, and looks their texts up in resources when it is made, a
// tenth of a start: only who may be asking for one of them waits for that.
static Command RootFor(string[] args, string description) => args.Any(
    word => word.StartsWith("--help", StringComparison.Ordinal) || word.StartsWith("--version", StringComparison.Ordinal)
        || word is ['[', ..] or "-h" or "-?" or "/h" or "/?")
    ? new RootCommand(description)
    : new Command("vmm", description);

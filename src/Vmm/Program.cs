using System.CommandLine;
using Vmm;
using Vmm.Boot;
using Vmm.Commands;
using Vmm.Devices.Memory;
using Vmm.Host;
using Vmm.Statistics;

var clock = new StartClock();
var root = new RootCommand("Boots a Linux kernel in a throw-away virtual machine.");
var run = new RunCommand();
run.AddTo(root, clock);
root.Subcommands.Add(ExitsCommand.Create(run, clock));
root.Subcommands.Add(BootTimelineCommand.Create(run, clock));
root.Subcommands.Add(CheckCommand.Create());
root.Subcommands.Add(InspectCommand.Create());
root.Subcommands.Add(DiskCommand.Create());
root.Subcommands.Add(CompletionCommand.Create());

// The library's own handler would print a stack trace.
var invocation = new InvocationConfiguration { EnableDefaultExceptionHandler = false, ProcessTerminationTimeout = null };
try
{
    StandardStreams.Check();
    ParseResult result = root.Parse(args);
    if (result.Errors.Count > 0)
    {
        Stderr.WriteLine($"vmm: {result.Errors[0].Message} ('vmm --help' tells more)");
        return ExitCodes.Usage;
    }

    return result.Invoke(invocation);
}
catch (Exception error) when (error is UsageException or BootException or CpuModelException)
{
    Stderr.WriteLine($"vmm: {error.Message}");
    return ExitCodes.Usage;
}
catch (Exception error) when (error is HostException or ErrnoException or IOException or GuestMemoryException)
{
    Stderr.WriteLine($"vmm: {error.Message}");
    return ExitCodes.HostCannot;
}

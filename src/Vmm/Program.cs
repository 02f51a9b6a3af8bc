using System.CommandLine;
using Vmm.Boot;
using Vmm.Cli;
using Vmm.Host;
using Vmm.Machines;

var clock = new StartClock();
try
{
    if (EmulatedHost.IsAskedFor(args))
    {
        return EmulatedHost.Run(args.Length);
    }

    args = FileNames.Arguments(args);

    // Every thread would map an arena of its own for malloc(3), which hardly anything here calls.
    _ = LibC.Mallopt(LibC.M_ARENA_MAX, 1);
    var tree = CommandTree.Create(clock, args);
    IgnoredSignals.IgnoreResourceSignals();
    StandardStreams.Check();
    ParseResult result = tree.Root.Parse(args, CommandTree.Parsing);
    if (tree.Asked(result) is { } told)
    {
        Stdout.Write(told);
        return ExitCodes.Success;
    }

    try
    {
        CommandLineCheck.Check(args, result);
    }
    catch (UsageException)
    {
        // What is said of a mistake may name any command and option.
        CommandLineCheck.Check(args, CommandTree.Create(clock).Root.Parse(args, CommandTree.Parsing));
        throw;
    }

    return result.Invoke(CommandTree.Invoking);
}
catch (UsageException error)
{
    Stderr.WriteLine($"vmm: {error.Line}");
    return ExitCodes.Usage;
}
catch (Exception error) when (error is CpuModelException or BootException { IsHostsFault: false })
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

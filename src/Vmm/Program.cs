using System.CommandLine;
using Vmm.Boot;
using Vmm.Cli;
using Vmm.Host;
using Vmm.Machines;

var clock = new StartClock();
try
{
    if (EmulatedHost.HandOver(args) is { } code)
    {
        return code;
    }

    args = FileNames.Arguments(args);
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
catch (Exception error)
{
    return LastWords.Tell(error);
}
finally
{
    Stderr.Finish();
}

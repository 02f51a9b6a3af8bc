using System.CommandLine;
using System.Globalization;
using Vmm.Machines;
using Vmm.Run.Cache;
using Vmm.Text;

namespace Vmm.Cli.Commands;

/// <summary><c>vmm cache list|prune</c>: machines that have booted, for vmm run.</summary>
internal static class CacheCommand
{
    public static Command Create()
    {
        var command = new Command("cache", "Machines that have booted, which vmm run goes on from");
        command.Subcommands.Add(CreateList());
        command.Subcommands.Add(CreatePrune());
        return command;
    }

    private static Command CreateList()
    {
        var command = new Command("list", "Tell what is there");
        command.SetAction(_ =>
        {
            foreach (CachedBoot boot in BootCache.Default.List())
            {
                Stdout.WriteLine(Line(boot));
            }

            return ExitCodes.Success;
        });
        return command;
    }

    private static Command CreatePrune()
    {
        var size = new Argument<string>("SIZE")
        {
            Description = "Keep so much of what was used last: 500M; nothing if not given",
            Arity = ArgumentArity.ZeroOrOne,
        };
        var command = new Command("prune", "Delete what is there, or what is stale and what is more than SIZE");
        command.Arguments.Add(size);
        command.SetAction(result =>
        {
            ulong most = result.GetValue(size) is { } text ? CommandLineCheck.Read(command, () => ByteSize.Parse(text, "SIZE")) : 0;
            var lines = BootCache.Default.List().ToDictionary(static boot => boot.Directory, Line);       // while they can be read
            foreach (CachedBoot boot in BootCache.Default.Prune(most))
            {
                Stdout.WriteLine(lines.GetValueOrDefault(boot.Directory, Path.GetFileName(boot.Directory)));
            }

            return ExitCodes.Success;
        });
        return command;
    }

    private static string Line(CachedBoot boot)
    {
        (string kernel, ulong memory) = boot.Describe();
        return string.Create(
            CultureInfo.InvariantCulture,
            $"{Path.GetFileName(boot.Directory)}  {ByteSize.Format(boot.Bytes),8}  memory {ByteSize.Format(memory),6}  used {boot.Uses,4} times, {boot.Used.ToLocalTime():yyyy-MM-dd HH:mm}  {PrintableText.Of(kernel)}{(boot.IsStale ? " (stale)" : "")}");
    }
}

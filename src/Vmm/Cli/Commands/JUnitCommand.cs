using System.CommandLine;
using System.Globalization;
using Vmm.Host;
using Vmm.Machines;
using Vmm.Run.Results;

namespace Vmm.Cli.Commands;

/// <summary><c>vmm junit merge OUT IN...</c>: merges JUnit files.</summary>
internal static class JUnitCommand
{
    public static Command Create()
    {
        var command = new Command("junit", "Merge JUnit reports");
        command.Subcommands.Add(CreateMerge());
        return command;
    }

    private static Command CreateMerge()
    {
        var output = new Argument<string>("OUT") { Description = "The file for the whole" };
        var inputs = new Argument<string[]>("IN") { Description = "Reports of vmm's or of other programs", Arity = ArgumentArity.OneOrMore };
        var command = new Command("merge", "Merge several reports into one, each test suite once");
        command.Arguments.Add(output);
        command.Arguments.Add(inputs);
        command.SetAction(result =>
        {
            // In memory first: OUT may be one of the files that are read.
            using var whole = new MemoryStream();
            (int tests, int failed) = JUnitMerge.Write(whole, result.GetRequiredValue(inputs));
            using OutputFile file = OutputFile.Open(result.GetRequiredValue(output), "vmm junit merge");
            file.Write(whole.GetBuffer().AsSpan(0, (int)whole.Length));
            Stdout.WriteLine(string.Create(CultureInfo.InvariantCulture, $"{tests} tests, {failed} failed"));
            return file.Failure is { } wrong ? throw new HostException(wrong) : ExitCodes.Success;
        });
        return command;
    }
}

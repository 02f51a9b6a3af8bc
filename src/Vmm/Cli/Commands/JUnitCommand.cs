using System.CommandLine;
using System.Globalization;
using Vmm.Host;
using Vmm.Machines;
using Vmm.Run.Results;

namespace Vmm.Cli.Commands;

/// <summary><c>vmm junit merge OUT IN...</c>: merges JUnit files.</summary>
internal static class JUnitCommand
{
    /// <summary>Exit code where a shard's report is missing.</summary>
    private const int SomeMissing = 1;

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
        var command = new Command("merge", "Merge several reports into one, each test suite once; a missing shard is an error");
        command.Arguments.Add(output);
        command.Arguments.Add(inputs);
        command.SetAction(result =>
        {
            // In memory first: OUT may be one of the files that are read.
            using var whole = new MemoryStream();
            JUnitTotals totals = JUnitMerge.Write(whole, result.GetRequiredValue(inputs));
            using OutputFile file = OutputFile.Open(result.GetRequiredValue(output), "vmm junit merge");
            file.Write(whole.ToArray());        // the writer has closed it
            if (file.Failure is { } wrong)
            {
                throw new HostException(wrong);
            }

            Stdout.WriteLine(string.Create(CultureInfo.InvariantCulture, $"{totals.Tests} tests, {totals.Failed} failed"));
            if (totals.Again > 0)
            {
                Stderr.WriteLine(string.Create(CultureInfo.InvariantCulture, $"vmm: {totals.Again} test suites came again as they were, and are in it once"));
            }

            if (totals.Missing.Length == 0)
            {
                return ExitCodes.Success;
            }

            Stderr.WriteLine($"vmm: missing: {totals.Missing}; {result.GetRequiredValue(output)} has what there is");
            return SomeMissing;
        });
        return command;
    }
}

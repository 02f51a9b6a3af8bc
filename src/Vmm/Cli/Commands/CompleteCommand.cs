using System.CommandLine;
using Vmm.Machines;
using Vmm.Text;

namespace Vmm.Cli.Commands;

/// <summary><c>vmm complete -- WORD...</c>, which completion scripts call: what may stand in place of the last word, a line
/// each, with what it means behind a tab.</summary>
internal static class CompleteCommand
{
    public static Command Create(CommandTree tree)
    {
        var words = new Argument<string[]>("WORD") { Description = "What was typed so far", Arity = ArgumentArity.ZeroOrMore };
        var command = new Command("complete", "Print the completions of the last word") { Hidden = true };
        command.Arguments.Add(words);
        command.SetAction(result =>
        {
            foreach (ManualRow row in Completions.Of(tree.Root, result.GetResult(words) is null ? [] : result.GetValue(words) ?? []))
            {
                Stdout.WriteLine(row.Meaning.Length == 0 ? row.Syntax : $"{row.Syntax}\t{row.Meaning}");
            }

            return ExitCodes.Success;
        });
        return command;
    }
}

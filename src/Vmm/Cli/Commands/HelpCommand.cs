using System.CommandLine;
using Vmm.Machines;
using Vmm.Text;

namespace Vmm.Cli.Commands;

/// <summary><c>vmm help [COMMAND...]</c>: everything about a command.</summary>
internal static class HelpCommand
{
    public static Command Create(CommandTree tree)
    {
        var words = new Argument<string[]>("COMMAND")
        {
            Description = "Which one: exits, disk create ...",
            Arity = ArgumentArity.ZeroOrMore,
        };
        var command = new Command("help", "Print everything about vmm or one of its commands");
        command.Arguments.Add(words);
        command.SetAction(result =>
        {
            Command at = tree.Root;
            foreach (string word in result.GetResult(words) is null ? [] : result.GetValue(words) ?? [])
            {
                at = CommandTree.FindCommand(at, word) ?? throw UnknownWords.NoSuchCommand(at, word);
            }

            Stdout.Write(HelpText.Format(at, TextStyle.Of(1), isFull: true));
            return ExitCodes.Success;
        });
        return command;
    }
}

using System.CommandLine;
using Vmm.Backends.Networks;
using Vmm.Cli.Commands;
using Vmm.Named;
using Vmm.Text;

namespace Vmm.Cli;

/// <summary>Finds the possible completions of the last word of a command line.</summary>
internal static class Completions
{
    /// <param name="words">What follows <c>vmm</c>, up to the cursor; the last may be empty.</param>
    /// <returns>Whole words; none where a file name is wanted.</returns>
    public static IEnumerable<ManualRow> Of(Command root, IReadOnlyList<string> words)
    {
        Command command = root;
        Option? waiting = null;         // for a value
        int values = 0;
        int positional = 0;
        bool optionsEnded = false;
        foreach (string word in words.Take(words.Count - 1))
        {
            if (values > 0)
            {
                values--;
            }
            else if (word == "--")
            {
                optionsEnded = true;
            }
            else if (!optionsEnded && word is ['-', _, ..])
            {
                waiting = CommandTree.FindOption(command, word);        // null for --mem=1G
                values = waiting?.Arity.MinimumNumberOfValues ?? 0;
            }
            else if (CommandTree.FindCommand(command, word) is { } found)
            {
                command = found;
            }
            else
            {
                positional++;
            }
        }

        string last = words.Count == 0 ? "" : words[^1];
        return Matching(command, values > 0 ? waiting : null, optionsEnded, positional, last)
            .Where(row => row.Syntax.StartsWith(last, StringComparison.Ordinal));
    }

    private static IEnumerable<ManualRow> Matching(Command command, Option? waiting, bool optionsEnded, int positional, string last)
    {
        if (waiting is not null)
        {
            return ValuesOf(waiting, last);
        }

        if (!optionsEnded && last is ['-', ..])
        {
            int equals = last.IndexOf('=', StringComparison.Ordinal);
            if (equals < 0)
            {
                return CommandTree.OptionsOf(command).Where(option => !option.Hidden)
                    .Select(option => new ManualRow(option.Name, option.Description!));
            }

            string name = last[..equals];
            return CommandTree.FindOption(command, name) is { } option
                ? ValuesOf(option, last[(equals + 1)..]).Select(row => row with { Syntax = $"{name}={row.Syntax}" })
                : [];
        }

        // The last argument may take several words.
        Argument? argument = positional < command.Arguments.Count ? command.Arguments[positional]
            : command.Arguments is [.., { Arity.MaximumNumberOfValues: > 1 } several] ? several : null;
        if (argument?.Name.EndsWith(MachineCommands.Argument, StringComparison.Ordinal) ?? false)
        {
            return (MachineStore.TryDefault?.List() ?? []).Select(static machine => new ManualRow(machine.Name, ""));
        }

        return argument is not null
            ? Choices(argument.HelpName).Select(choice => new ManualRow(choice, ""))
            : command.Subcommands.Where(each => !each.Hidden).Select(each => new ManualRow(each.Name, each.Description!));
    }

    /// <param name="typed">The typed part of the value: <c>disk.img,read</c>.</param>
    private static IEnumerable<ManualRow> ValuesOf(Option option, string typed)
    {
        int comma = typed.LastIndexOf(',');
        IReadOnlyList<ManualRow> parts = option.Name switch
        {
            "--net" when comma < 0 => NetSpec.Modes,
            "--net" => NetSpec.Parts,
            "--disk" or "--vsock" when comma < 0 => [],         // a file
            _ => OptionManual.PartsOf(option.Name),
        };
        if (parts.Count == 0)
        {
            return Choices(option.HelpName).Select(choice => new ManualRow(choice, ""));
        }

        // For format=raw|qcow2 both values are offered; for queues=N only its name.
        string front = typed[..(comma + 1)];
        return parts.SelectMany(part => part.Syntax.Split('=', 2) is [var name, var values]
            ? Choices(values).Select(value => $"{name}={value}").DefaultIfEmpty(name + "=")
                .Select(word => new ManualRow(front + word, MeaningOf(part, word[(name.Length + 1)..])))
            : [new ManualRow(front + part.Syntax, part.Meaning)]);
    }

    /// <summary>The meaning of one value out of <c>none: past the page cache; unsafe: ...</c>; the whole text where it is not
    /// split.</summary>
    private static string MeaningOf(ManualRow part, string value) => part.Meaning.Split("; ").FirstOrDefault(each =>
        each.StartsWith(value + ":", StringComparison.Ordinal) || each.StartsWith(value + " (", StringComparison.Ordinal)) ?? part.Meaning;

    /// <summary><c>raw|qcow2</c> are values to offer; FILE, or TEXT in <c>init|shell|TEXT</c>, is not.</summary>
    private static IEnumerable<string> Choices(string? syntax) =>
        (syntax ?? "").Split('|').Where(word => word.Length > 0 && word.All(c => char.IsAsciiLetterLower(c) || char.IsAsciiDigit(c)));
}

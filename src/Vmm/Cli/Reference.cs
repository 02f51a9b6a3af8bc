using System.CommandLine;
using System.Text;
using Vmm.Machines;
using Vmm.Text;

namespace Vmm.Cli;

/// <summary><c>docs/reference.md</c>: all commands, options and exit codes on one page, from the same tables as help.</summary>
internal static class Reference
{
    public static string Format(Command root)
    {
        var text = new StringBuilder(
            """
            # Reference
            <!-- Made by `make reference` from the descriptions that `vmm --help` prints; a test compares them. -->
            `vmm help COMMAND` and `man vmm-COMMAND` tell the same.

            """);
        Table(text, "## Commands", "command", "what it does", Commands(root).Select(
            command => new ManualRow(CommandTree.PathOf(command), command.Description!)));
        Table(text, "## Exit codes", "code", "meaning", ExitCodes.Of(boots: true));
        text.Append("\nA guest's own code may be any of these numbers; the line on standard error tells them apart.\n");
        Table(text, "## Keys at the console", "keys", "what they do", CommandManual.Keys);
        Table(text, "## Environment", "variable", "meaning", CommandManual.Environment);
        Table(text, "## Files", "file", "what for", CommandManual.Files);
        foreach (Command command in Commands(root))
        {
            Of(text, command, CommandTree.ParentOf(command) is null);
        }

        return text.ToString();
    }

    private static void Of(StringBuilder text, Command command, bool isRoot)
    {
        CommandManual manual = CommandManual.Of(command);
        string path = CommandTree.PathOf(command);
        text.Append($"\n## {path}\n{string.Join(' ', manual.Paragraphs)}\n\n```\n");
        foreach (string synopsis in manual.Synopsis)
        {
            text.Append($"{path} {synopsis}".TrimEnd()).Append('\n');
        }

        text.Append("```\n");
        Table(text, null, "argument", "meaning", command.Arguments.Select(each => new ManualRow(each.Name, each.Description!)));
        bool boots = !isRoot && CommandTree.FindOption(command, "--kernel") is not null;
        Table(text, null, "option", "meaning", command.Options
            .Where(option => !option.Hidden && (!boots || OptionManual.GroupOf(option.Name) == OptionManual.OwnGroup))
            .OrderBy(option => OptionManual.OrderOf(option.Name))
            .Select(option => new ManualRow(OptionManual.Syntax(option), option.Description!)));
        text.Append(boots ? "\nAnd the options of `vmm` itself.\n" : "");
        foreach (Option option in isRoot ? command.Options : [])
        {
            Table(text, $"### {option.Name}", "part", "meaning", OptionManual.PartsOf(option.Name));
        }

        Table(text, null, "example", "what it does", manual.Examples);
    }

    /// <summary>The root, then all other visible commands.</summary>
    internal static IEnumerable<Command> Commands(Command root) =>
        root.Subcommands.Where(each => !each.Hidden).SelectMany(Commands).Prepend(root);

    private static void Table(StringBuilder text, string? title, string first, string second, IEnumerable<ManualRow> rows)
    {
        if (!rows.Any())
        {
            return;
        }

        text.Append('\n').Append(title is null ? "" : title + "\n").Append($"| {first} | {second} |\n| --- | --- |\n");
        foreach (ManualRow row in rows)
        {
            text.Append($"| `{Cell(row.Syntax)}` | {Cell(row.Meaning)} |\n");
        }
    }

    private static string Cell(string text) => text.Replace("|", "\\|", StringComparison.Ordinal);
}

using System.CommandLine;
using System.Text;
using Vmm.Machines;
using Vmm.Text;

namespace Vmm.Cli;

/// <summary>A manual page of section 1, in man(7)'s macros, from the same tables as help.</summary>
internal sealed class ManPage
{
    private readonly StringBuilder _text = new();

    /// <summary><c>vmm-disk-create</c></summary>
    public static string NameOf(Command command) => CommandTree.PathOf(command).Replace(' ', '-');

    public static string Format(Command command, string version) => new ManPage().Write(command, version);

    private string Write(Command command, string version)
    {
        CommandManual manual = CommandManual.Of(command);
        string name = NameOf(command);
        string path = CommandTree.PathOf(command);
        bool boots = CommandTree.RunsMachine(command);
        _text.Append(".\\\" Made by 'vmm manual' from the descriptions that 'vmm --help' prints.\n");
        _text.Append($".TH {Text(name.ToUpperInvariant())} 1 \"\" \"vmm {Text(version)}\" \"User Commands\"\n");

        // No hyphenation, because readers type some of the words; no justified lines.
        _text.Append(".nh\n.ad l\n");
        Section("NAME");
        Line($"{name} - {char.ToLowerInvariant(command.Description![0])}{command.Description[1..]}");
        Section("SYNOPSIS");
        foreach (string synopsis in manual.Synopsis)
        {
            _text.Append(".B ").Append(Text(path)).Append('\n');
            if (synopsis.Length > 0)
            {
                Line(synopsis);
            }

            _text.Append(".br\n");
        }

        Section("DESCRIPTION");
        for (int i = 0; i < manual.Paragraphs.Length; i++)
        {
            _text.Append(i == 0 ? "" : ".PP\n");
            Line(manual.Paragraphs[i]);
        }

        Rows("COMMANDS", command.Subcommands.Where(each => !each.Hidden).Select(each => new ManualRow(each.Name, each.Description!)));
        Rows("ARGUMENTS", command.Arguments.Select(each => new ManualRow(each.Name, each.Description!)));
        Options(command);
        Rows("KEYS AT THE CONSOLE", boots ? CommandManual.Keys : []);
        Rows("EXIT STATUS", ExitCodes.Of(boots));
        if (boots)
        {
            Line("A guest's own code may be any of these numbers; the line on standard error tells them apart.");
        }

        Rows("ENVIRONMENT", boots ? CommandManual.Environment : []);
        Rows("FILES", boots ? CommandManual.Files : []);
        Rows("EXAMPLES", manual.Examples);
        SeeAlso(command, boots);
        return _text.ToString();
    }

    private void Options(Command command)
    {
        Section("OPTIONS");
        IGrouping<string, Option>[] groups = [.. OptionManual.Grouped(command)];
        foreach (IGrouping<string, Option> group in groups)
        {
            _text.Append(groups.Length > 1 ? $".SS {group.Key}\n" : "");
            foreach (Option option in group)
            {
                Row(new ManualRow(OptionManual.Syntax(option), option.Description! + "."));
                IReadOnlyList<ManualRow> parts = OptionManual.PartsOf(option.Name);
                if (parts.Count > 0)
                {
                    _text.Append(".RS\n");
                    foreach (ManualRow part in parts)
                    {
                        Row(part);
                    }

                    _text.Append(".RE\n");
                }
            }
        }
    }

    private void SeeAlso(Command command, bool boots)
    {
        Command? parent = CommandTree.ParentOf(command);
        IEnumerable<Command> others = parent is null
            ? command.Subcommands.Where(each => !each.Hidden)
            : command.Subcommands.Where(each => !each.Hidden).Prepend(parent);
        Section("SEE ALSO");
        string[] also = [.. others.Select(NameOf), .. boots ? (string[])["passt"] : []];
        _text.AppendJoin(" ,\n", also.Select(name => $".BR {Text(name)} (1)")).Append('\n');
    }

    private void Section(string title) => _text.Append($".SH {title}\n");

    private void Rows(string title, IEnumerable<ManualRow> rows)
    {
        if (rows.Any())
        {
            Section(title);
            foreach (ManualRow row in rows)
            {
                Row(row);
            }

            _text.Append(".PP\n");
        }
    }

    private void Row(ManualRow row)
    {
        _text.Append(".TP\n.B ").Append(Text(row.Syntax).Replace("\"", "\\(dq", StringComparison.Ordinal)).Append('\n');
        Line(row.Meaning);
    }

    private void Line(string text) => _text.Append(text is ['.' or '\'', ..] ? "\\&" : "").Append(Text(text)).Append('\n');

    /// <summary>Escaped for roff: dashes that can be copied and typed, unchanged quotes.</summary>
    private static string Text(string text) => text.Replace("\\", "\\e", StringComparison.Ordinal)
        .Replace("-", "\\-", StringComparison.Ordinal).Replace("'", "\\(aq", StringComparison.Ordinal)
        .Replace("^", "\\(ha", StringComparison.Ordinal).Replace("~", "\\(ti", StringComparison.Ordinal)
        .Replace("`", "\\(ga", StringComparison.Ordinal);
}

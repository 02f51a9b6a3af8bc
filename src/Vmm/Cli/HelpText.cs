using System.CommandLine;
using System.Text;
using Vmm.Machines;
using Vmm.Text;

namespace Vmm.Cli;

/// <summary>Help on the command line: short for <c>--help</c>, complete for <c>vmm help</c>.</summary>
internal sealed class HelpText(TextStyle style, bool isFull)
{
    private const int Indent = 2, WidestLeft = 28, Gap = 2;

    private readonly StringBuilder _text = new();
    private int _left = WidestLeft;

    public static string Format(Command command, TextStyle style, bool isFull) => new HelpText(style, isFull).Write(command);

    private string Write(Command command)
    {
        CommandManual manual = CommandManual.Of(command);
        string path = CommandTree.PathOf(command);
        _text.Append(command.Description).Append(".\n\n");
        for (int i = 0; i < manual.Synopsis.Length; i++)
        {
            string line = $"{path} {manual.Synopsis[i]}".TrimEnd();
            _text.Append(i == 0 ? style.Paint("Usage:", "1") : "      ").Append(' ').Append(line).Append('\n');
        }

        foreach (string paragraph in isFull ? manual.Paragraphs : [])
        {
            _text.Append('\n');
            Wrap(paragraph, 0);
        }

        Rows("Commands", command.Subcommands.Where(each => !each.Hidden).Select(each => new ManualRow(each.Name, each.Description!)));
        Rows("Arguments", command.Arguments.Select(each => new ManualRow(each.Name, each.Description!)));
        Options(command);
        if (isFull)
        {
            bool boots = CommandTree.RunsMachine(command);
            Rows("Keys at the console", boots ? CommandManual.Keys : []);
            Rows("Exit codes", ExitCodes.Of(boots));
            Rows("Environment", boots ? CommandManual.Environment : []);
        }

        if (manual.Examples.Length > 0)
        {
            Heading("Examples");
        }

        foreach (ManualRow example in manual.Examples)
        {
            _text.Append(' ', Indent).Append(example.Syntax).Append('\n');
            Wrap(example.Meaning, Indent + 4);
        }

        if (!isFull)
        {
            string topic = string.Join(' ', path.Split(' ').Skip(1).Prepend("vmm help"));
            _text.Append('\n');
            Wrap($"'{topic}' prints everything: the parts of values, exit codes and more.", 0);
        }

        return _text.ToString();
    }

    private void Options(Command command)
    {
        foreach (IGrouping<string, Option> group in OptionManual.Grouped(command))
        {
            Heading(group.Key);
            Group(group);
        }
    }

    private void Group(IEnumerable<Option> options)
    {
        foreach (Option option in options)
        {
            // Long options are aligned, with or without a short one before them.
            string syntax = OptionManual.Syntax(option);
            Row(new ManualRow(syntax.StartsWith("--", StringComparison.Ordinal) ? "    " + syntax : syntax, option.Description!), 0);
            foreach (ManualRow part in isFull ? OptionManual.PartsOf(option.Name) : [])
            {
                Row(part, 6);
            }
        }
    }

    private void Rows(string title, IEnumerable<ManualRow> rows)
    {
        ManualRow[] all = [.. rows];
        if (all.Length == 0)
        {
            return;
        }

        Heading(title);
        _left = Math.Min(WidestLeft, all.Max(row => row.Syntax.Length));
        foreach (ManualRow row in all)
        {
            Row(row, 0);
        }

        _left = WidestLeft;
    }

    private void Heading(string title) => _text.Append('\n').Append(style.Paint(title + ":", "1")).Append('\n');

    private void Row(ManualRow row, int further)
    {
        int column = Indent + _left + Gap;
        _text.Append(' ', Indent + further).Append(row.Syntax);
        int used = Indent + further + row.Syntax.Length;
        if (used + Gap > column)
        {
            _text.Append('\n');
            used = 0;
        }

        Wrap(row.Meaning, column, used);
    }

    /// <param name="indent">Columns in front of each line.</param>
    /// <param name="used">Columns that the first line has already.</param>
    private void Wrap(string text, int indent, int used = 0)
    {
        int at = used;
        bool first = true;
        foreach (string word in text.Split(' '))
        {
            if (!first && at + 1 + word.Length > style.Width)
            {
                _text.Append('\n');
                at = 0;
                first = true;
            }

            if (first)
            {
                _text.Append(' ', Math.Max(0, indent - at));
                at = Math.Max(at, indent);
                first = false;
            }
            else
            {
                _text.Append(' ');
                at++;
            }

            _text.Append(word);
            at += word.Length;
        }

        _text.Append('\n');
    }
}

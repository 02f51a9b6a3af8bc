using System.CommandLine;
using Vmm.Host;
using Vmm.Text;

namespace Vmm.Cli;

/// <summary>Errors about unknown options and commands, with suggestions.</summary>
internal static class UnknownWords
{
    private static readonly string[] HelpWords = ["/h", "/?", "-?", "/help", "-help", "?"];

    /// <param name="word">As given, with a value behind = if it has one.</param>
    /// <param name="next">The words behind it.</param>
    /// <param name="plain">All from the first that is no option.</param>
    public static UsageException NoSuchOption(Command command, string word, ReadOnlySpan<string> next, ReadOnlySpan<string> plain)
    {
        int equals = word.IndexOf('=', StringComparison.Ordinal);
        string name = equals < 0 ? word : word[..equals];
        string? value = equals >= 0 ? word[(equals + 1)..] : next is [var first, ..] ? first : null;
        string advice = Advice(command, name, value) is { Length: > 0 } known ? known : BehindDashes(command, plain);
        return CommandLineCheck.Wrong(command, $"no such option '{name}'{advice}");
    }

    /// <summary>For <c>vmm run uname -a</c>, whose option is of the guest's command.</summary>
    private static string BehindDashes(Command command, ReadOnlySpan<string> plain)
    {
        string takes = command.Arguments is [var words] ? words.Name : "";      // COMMAND, or MACHINE COMMAND
        int before = takes.Count(' ');
        return takes.EndsWith("COMMAND", StringComparison.Ordinal) && plain.Length > before
            ? $"; a command goes behind --, as in: {string.Join(' ', [CommandTree.PathOf(command), .. plain[..before], "--", .. plain[before..]])}"
            : "";
    }

    public static UsageException NoSuchCommand(Command command, string word)
    {
        string what = command.Subcommands.Count == 0 ? "argument" : "command";
        string advice = HelpWords.Contains(word, StringComparer.Ordinal) ? "; did you mean '--help'?"
            : Suggestion.DidYouMean(word, command.Subcommands.Where(each => !each.Hidden).Select(each => each.Name));
        if (advice.Length == 0 && CommandTree.ParentOf(command) is null && File.Exists(word))
        {
            advice = $"; did you mean '--kernel {word}' or '--disk {word}'?";
        }

        return CommandLineCheck.Wrong(command, $"no such {what} '{word}'{advice}");
    }

    private static string Advice(Command command, string name, string? value)
    {
        if (HelpWords.Contains(name, StringComparer.Ordinal))
        {
            return "; did you mean '--help'?";
        }

        bool boots = CommandTree.FindOption(command, "--kernel") is not null;
        if (boots && ForeignOptions.Find(name, value) is { } foreign)
        {
            return foreign;
        }

        // -m512M, as other programs take it.
        if (name is ['-', not '-', _, ..] && CommandTree.FindOption(command, name[..2]) is { } known
            && known.Arity.MinimumNumberOfValues > 0 && (char.IsAsciiDigit(name[2]) || name[2] is '/' or '.'))
        {
            return $"; did you mean '{name[..2]} {name[2..]}'?";
        }

        return Suggestion.DidYouMean(name, CommandTree.OptionsOf(command).Select(option => option.Name));
    }
}

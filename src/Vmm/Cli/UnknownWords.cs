using System.CommandLine;
using Vmm.Host;
using Vmm.Text;

namespace Vmm.Cli;

/// <summary>Errors about unknown options and commands, with suggestions.</summary>
internal static class UnknownWords
{
    private static readonly string[] HelpWords = ["/h", "/?", "-?", "/help", "-help", "?"];

    /// <param name="word">As given, with a value behind = if it has one.</param>
    /// <param name="next">The word behind it; null if there is none.</param>
    public static UsageException NoSuchOption(Command command, string word, string? next)
    {
        int equals = word.IndexOf('=', StringComparison.Ordinal);
        string name = equals < 0 ? word : word[..equals];
        string? value = equals < 0 ? next : word[(equals + 1)..];
        return CommandLineCheck.Wrong(command, $"no such option '{name}'{Advice(command, name, value)}");
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

using System.CommandLine;
using System.CommandLine.Parsing;

namespace Vmm.Cli.Targets;

/// <summary>The parts of a command line of <c>vmm run</c>, from which the command line of another vmm can be made.</summary>
/// <param name="Targets">The words before <c>--</c> that belong to no option.</param>
/// <param name="Options">The given options with their values, in order; a flag has no values.</param>
/// <param name="Command">The words behind <c>--</c>.</param>
internal sealed record RunWords(
    IReadOnlyList<string> Targets, IReadOnlyList<(Option Option, IReadOnlyList<string> Values)> Options, IReadOnlyList<string> Command)
{
    public static RunWords Of(ParseResult result, Argument<string[]> words)
    {
        string[] all = result.GetResult(words) is { } given ? [.. given.Tokens.Select(token => token.Value)] : [];
        int behind = 0;
        for (int i = 0; i < result.Tokens.Count; i++)
        {
            if (result.Tokens[i].Type == TokenType.DoubleDash)
            {
                behind = result.Tokens.Count - i - 1;
                break;
            }
        }

        var options = new List<(Option, IReadOnlyList<string>)>();
        foreach (SymbolResult child in result.CommandResult.Children)
        {
            if (child is OptionResult { Implicit: false } option)
            {
                options.Add((option.Option, [.. option.Tokens.Select(token => token.Value)]));
            }
        }

        return new RunWords(all[..^behind], options, all[^behind..]);
    }

    public bool Has(Option option) => Options.Any(given => given.Option == option);

    /// <summary>The value of an option, the last where it has several; null where it is not there.</summary>
    public string? Value(string name) =>
        Options.Where(given => given.Option.Name == name).SelectMany(given => given.Values).LastOrDefault();

    /// <summary>As words of a command line: <c>--mem=1G</c>.</summary>
    public static IEnumerable<string> Join(IEnumerable<(Option Option, IReadOnlyList<string> Values)> options) => options.SelectMany(
        given => given.Values.Count == 0        // a flag, or --profile without a file
            ? [given.Option.Name]
            : given.Values.SelectMany<string, string>(value =>
                value.Length == 0 ? [given.Option.Name, ""] : [$"{given.Option.Name}={value}"]));
}

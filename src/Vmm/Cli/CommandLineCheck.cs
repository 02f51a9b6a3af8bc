using System.CommandLine;
using System.CommandLine.Parsing;
using Vmm.Boot;
using Vmm.Host;

namespace Vmm.Cli;

/// <summary>Checks a command line: reports errors, and refuses what the library would accept but vmm does not support.</summary>
/// <remarks>The library takes <c>--mem:1G</c>, drops a first word <c>[x]</c>, makes the next option the
/// value of an option that lacks one and an unknown option a file name, and ignores options in front of a command.</remarks>
internal static class CommandLineCheck
{
    /// <exception cref="UsageException">With the command's help.</exception>
    public static void Check(string[] args, ParseResult result)
    {
        Command command = result.CommandResult.Command;
        if (args is [['[', ..] and [.., ']'] and var first, ..])
        {
            throw UnknownWords.NoSuchCommand(result.RootCommandResult.Command, first);
        }

        CheckWords(args, result);
        if (result.UnmatchedTokens is [var extra, ..])
        {
            throw Wrong(command, $"'{extra}' is one too many: {Usage(command)}");
        }

        if (command.Action is null)
        {
            throw Wrong(command, $"a command is missing: {CommandTree.PathOf(command)} "
                + string.Join('|', command.Subcommands.Select(each => each.Name)));
        }

        CheckCounts(result);
        if (result.Errors is [var left, ..])
        {
            throw Wrong(command, left.Message.ReplaceLineEndings(" "));
        }
    }

    /// <summary>Reads values, and adds the command's help to errors.</summary>
    public static T Read<T>(Command command, Func<T> read)
    {
        try
        {
            return read();
        }
        catch (Exception error) when (error is UsageException or CpuModelException)
        {
            throw Wrong(command, error.Message);
        }
    }

    public static UsageException Wrong(Command command, string message) => new(message, CommandTree.PathOf(command));

    /// <summary><c>vmm disk create PATH SIZE</c></summary>
    public static string Usage(Command command) => string.Join(
        ' ',
        [
            CommandTree.PathOf(command),
            .. command.Arguments.Select(argument => argument.Arity.MinimumNumberOfValues == 0 ? $"[{argument.Name}]" : argument.Name),
        ]);

    /// <summary>Compares the words with the tokens that the library made of them.</summary>
    private static void CheckWords(string[] args, ParseResult result)
    {
        Command command = result.RootCommandResult.Command;
        IReadOnlyList<Token> tokens = result.Tokens;
        bool optionsEnded = false;
        int word = 0, plain = -1;        // plain: the first word that is no option
        for (int i = 0; i < tokens.Count; i++)
        {
            Token token = tokens[i];
            string text = args[word++];
            switch (token.Type)
            {
                case TokenType.Command:
                    command = CommandTree.FindCommand(command, token.Value)!;
                    break;
                case TokenType.DoubleDash:
                    optionsEnded = true;
                    break;
                case TokenType.Option:
                    int values = CheckOption(command, text, tokens, i, out bool attached);
                    i += values;
                    word += attached ? values - 1 : values;
                    break;
                default:
                    if (!optionsEnded && text is ['-', _, ..])
                    {
                        throw UnknownWords.NoSuchOption(command, text, args.AsSpan(word), plain < 0 ? default : args.AsSpan(plain));
                    }

                    plain = plain < 0 ? word - 1 : plain;

                    if (command.Subcommands.Count > 0 && command.Arguments.Count == 0)
                    {
                        throw UnknownWords.NoSuchCommand(command, text);
                    }

                    break;
            }
        }
    }

    /// <param name="text">The word.</param>
    /// <param name="at">Where its token is.</param>
    /// <param name="attached">The value is in the same word.</param>
    /// <returns>How many tokens behind it are its values.</returns>
    private static int CheckOption(Command command, string text, IReadOnlyList<Token> tokens, int at, out bool attached)
    {
        string name = tokens[at].Value;
        Option option = CommandTree.FindOption(command, name)!;
        attached = text.Length > name.Length;
        int least = option.Arity.MinimumNumberOfValues;
        if (attached)
        {
            string value = text[(name.Length + 1)..];
            if (text[name.Length] == ':')
            {
                throw Wrong(command, $"no such option '{text}'; did you mean '{name}={value}'?");
            }

            if (option.Arity.MaximumNumberOfValues == 0)
            {
                throw Wrong(command, $"{name} takes no value: leave '={value}' out");
            }

            if (value.Length == 0)
            {
                throw Wrong(command, $"{text} has no value; an empty one is: {name} ''");
            }
        }
        else if (least == 0)
        {
            // Whether the next word is a value is decided by the library's rules: --profile check is a flag and a command.
            return option.Arity.MaximumNumberOfValues == 1 && IsValue(tokens, at + 1)
                ? throw Wrong(command, $"{name} takes its value in the same word: {name}={tokens[at + 1].Value}")
                : 0;
        }

        int given = attached ? 1 : 0;
        for (; given < least; given++)
        {
            bool isValue = IsValue(tokens, at + given + 1);
            if (!isValue || CommandTree.FindOption(command, tokens[at + given + 1].Value) is not null)
            {
                string instead = isValue ? $", but '{tokens[at + given + 1].Value}' is an option, too" : "";
                throw Wrong(command, $"{name} takes a value, {option.HelpName}{instead}");
            }
        }

        return given;
    }

    private static bool IsValue(IReadOnlyList<Token> tokens, int index) =>
        index < tokens.Count && tokens[index].Type == TokenType.Argument;

    /// <summary>Options that are given too often, missing, or in front of a command that does not have them.</summary>
    private static void CheckCounts(ParseResult result)
    {
        Command command = result.CommandResult.Command;
        for (CommandResult? at = result.CommandResult; at is not null; at = at.Parent as CommandResult)
        {
            foreach (SymbolResult child in at.Children)
            {
                if (child is not OptionResult { Implicit: false } given)
                {
                    continue;
                }

                if (at.Command != command && CommandTree.FindOption(command, given.Option.Name) != given.Option)
                {
                    throw Wrong(command, $"{given.Option.Name} is no option of '{CommandTree.PathOf(command)}'");
                }

                if (given.Tokens.Count > given.Option.Arity.MaximumNumberOfValues)
                {
                    throw Wrong(command, $"{given.Option.Name} is given {given.IdentifierTokenCount} times; give it once");
                }
            }
        }

        foreach (Argument argument in command.Arguments)
        {
            if (argument.Arity.MinimumNumberOfValues > 0 && result.GetResult(argument) is not { Tokens.Count: > 0 })
            {
                throw Wrong(command, $"{argument.Name} is missing: {Usage(command)}");
            }
        }
    }
}

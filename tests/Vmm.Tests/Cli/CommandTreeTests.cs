using System.CommandLine;
using Vmm.Cli;

namespace Vmm.Tests.Cli;

/// <summary>The part of the tree that a command line needs is the same as in the whole.</summary>
public sealed class CommandTreeTests
{
    [Fact]
    public void A_commands_part_of_the_tree_is_as_in_the_whole()
    {
        Command whole = CommandTree.Create(new StartClock()).Root;
        Command none = CommandTree.Create(new StartClock(), ["--kernel", "bzImage"]).Root;
        Assert.Empty(none.Subcommands);
        Assert.Equal(Options(whole), Options(none));
        foreach (Command command in whole.Subcommands)
        {
            Command part = CommandTree.Create(new StartClock(), [command.Name, "--cpus", "2"]).Root;
            Command found = CommandTree.FindCommand(part, command.Name)!;
            Assert.Equal(Options(whole), Options(part));
            Assert.Equal((command.Description, command.Hidden), (found.Description, found.Hidden));
            Assert.Equal(Options(command), Options(found));
            Assert.Equal(command.Subcommands.SelectMany(Options), found.Subcommands.SelectMany(Options));
        }
    }

    [Theory]
    [InlineData("--help")]
    [InlineData("-h")]
    [InlineData("help")]
    [InlineData("complete")]
    [InlineData("completion")]
    [InlineData("manual")]
    public void Documentation_of_all_commands_has_them_all(string word) =>
        Assert.All(CommandTree.Create(new StartClock(), [word]).Root.Subcommands, static command => Assert.NotNull(command.Description));

    private static IEnumerable<string> Options(Command command) =>
        command.Options.Select(static option => $"{AllNames(option)} {option.Arity.MaximumNumberOfValues}");

    private static string AllNames(Option option) => string.Join('|', option.Aliases.Append(option.Name));
}

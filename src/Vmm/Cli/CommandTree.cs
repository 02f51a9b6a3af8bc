using System.CommandLine;
using Vmm.Cli.Commands;
using Vmm.Text;

namespace Vmm.Cli;

/// <summary>All commands and options of vmm: what is parsed, and what help, manual pages and completions tell.</summary>
/// <remarks>What System.CommandLine does unasked is decided here and in <see cref="CommandLineCheck"/>. It has no response
/// files, no bundles of short options, no directives, no /h: none of them can be told from a value or a file name. Its
/// RootCommand is not used: it looks its texts up in resources, a tenth of a start, and brings [suggest] along.</remarks>
internal sealed class CommandTree
{
    private const string Name = "vmm";

    /// <summary>The library drops a first word that ends in the root's name behind a slash, and <c>--kernel=/boot/vmm</c> is
    /// one; no word ends in this behind a slash.</summary>
    private const string RootName = "/" + Name;

    private CommandTree(Command root, Option<bool> help, Option<bool> version) => (Root, Help, Version) = (root, help, version);

    public Command Root { get; }

    /// <summary>Goes with every command.</summary>
    public Option<bool> Help { get; }

    public Option<bool> Version { get; }

    public static ParserConfiguration Parsing { get; } = new()
    {
        ResponseFileTokenReplacer = null,       // --name @home is a name
        EnablePosixBundling = false,            // -kernel is not -k ernel
    };

    public static InvocationConfiguration Invoking { get; } = new()
    {
        EnableDefaultExceptionHandler = false,  // it prints a stack trace
        ProcessTerminationTimeout = null,       // signals are StopSignals' own
    };

    /// <param name="words">Of the command line: of commands that are not among them there is only the name, since most of a
    /// tree's cost is options of commands that nobody gave. Null for the whole tree, which help, completions and errors need.
    /// </param>
    public static CommandTree Create(StartClock clock, string[]? words = null)
    {
        if (words is not null && words.Any(static word => word is "help" or "complete" or "completion" or "manual" or "--help" or "-h"))
        {
            words = null;
        }

        Command Named(string name, Func<Command> create) => words?.Contains(name) ?? true ? create() : new Command(name);

        var root = new Command(RootName, "Boot a Linux kernel in a throw-away virtual machine");
        var run = new BootCommand();
        run.AddTo(root, clock);
        root.Subcommands.Add(Named("run", () => RunCommand.Create(run, clock)));
        MachineCommands.AddTo(root, Named);
        root.Subcommands.Add(Named("exits", () => ExitsCommand.Create(run, clock)));
        root.Subcommands.Add(Named("boot-timeline", () => BootTimelineCommand.Create(run, clock)));
        root.Subcommands.Add(Named("check", CheckCommand.Create));
        root.Subcommands.Add(Named("inspect", InspectCommand.Create));
        root.Subcommands.Add(Named("restore", () => RestoreCommand.Create(clock)));
        root.Subcommands.Add(Named("disk", DiskCommand.Create));
        root.Subcommands.Add(Named("kernel", KernelCommand.Create));
        root.Subcommands.Add(Named("junit", JUnitCommand.Create));
        root.Subcommands.Add(Named("completion", CompletionCommand.Create));
        root.Subcommands.Add(Named("host", HostCommand.Create));
        var version = new Option<bool>("--version", "-V") { Description = "Print the version" };
        var help = new Option<bool>("--help", "-h") { Description = "Print this help", Recursive = true };
        root.Options.Add(new Option<bool>(EmulatedHost.Option) { Description = EmulatedHost.Description, Recursive = true });
        root.Options.Add(help);
        root.Options.Add(version);
        var tree = new CommandTree(root, help, version);
        root.Subcommands.Add(Named("help", () => HelpCommand.Create(tree)));
        root.Subcommands.Add(Named("version", VersionCommand.Create));
        root.Subcommands.Add(Named("complete", () => CompleteCommand.Create(tree)));
        root.Subcommands.Add(Named("manual", () => ManualCommand.Create(tree)));
        LetFlagsTakeNoValue(root);
        return tree;
    }

    /// <summary>Help or the version, where an option asks for it; null else. It wins over other mistakes, unless it is not
    /// clear what the help is about.</summary>
    public string? Asked(ParseResult result) =>
        IsGiven(result, Help) && result.UnmatchedTokens.All(word => word is ['-', ..])
            ? HelpText.Format(result.CommandResult.Command, TextStyle.Of(1), isFull: false)
        : IsGiven(result, Version) ? VersionCommand.Text
        : null;

    /// <summary>(The library makes up results of flags that are not there.)</summary>
    private static bool IsGiven(ParseResult result, Option option) => result.GetResult(option) is { Implicit: false };

    /// <summary>A flag is there or not: else <c>--json true</c> would swallow a file of that name.</summary>
    private static void LetFlagsTakeNoValue(Command command)
    {
        foreach (Option option in command.Options)
        {
            if (option.ValueType == typeof(bool))
            {
                option.Arity = ArgumentArity.Zero;
            }
        }

        foreach (Command each in command.Subcommands)
        {
            LetFlagsTakeNoValue(each);
        }
    }

    /// <summary>As it is typed: <c>vmm disk create</c>.</summary>
    public static string PathOf(Command command) =>
        ParentOf(command) is { } parent ? $"{PathOf(parent)} {command.Name}" : Name;

    public static Command? ParentOf(Command command)
    {
        foreach (Symbol parent in command.Parents)
        {
            if (parent is Command found)
            {
                return found;
            }
        }

        return null;
    }

    /// <summary>An option of a command, or one that goes with all; null if it has none of that name.</summary>
    public static Option? FindOption(Command command, string name)
    {
        for (Command? at = command; at is not null; at = ParentOf(at))
        {
            foreach (Option option in at.Options)
            {
                if ((at == command || option.Recursive) && (option.Name == name || option.Aliases.Contains(name)))
                {
                    return option;
                }
            }
        }

        return null;
    }

    /// <summary>Does it make a machine, with a console and an end of its own?</summary>
    public static bool RunsMachine(Command command) =>
        FindOption(command, "--kernel") is not null || FindOption(command, "--stop-timeout") is not null;

    /// <summary>What can be given to a command, those that go with all last.</summary>
    public static IEnumerable<Option> OptionsOf(Command command)
    {
        IEnumerable<Option> own = command.Options;
        for (Command? at = ParentOf(command); at is not null; at = ParentOf(at))
        {
            own = own.Concat(at.Options.Where(option => option.Recursive));
        }

        return own;
    }

    public static Command? FindCommand(Command command, string name)
    {
        foreach (Command each in command.Subcommands)
        {
            if (each.Name == name)
            {
                return each;
            }
        }

        return null;
    }
}

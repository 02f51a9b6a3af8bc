using System.CommandLine;
using Vmm.Cli.Commands;
using Vmm.Text;

namespace Vmm.Cli;

/// <summary>All commands and options of vmm: for the parser, help, manual pages and completions.</summary>
/// <remarks>Features of System.CommandLine that vmm does not want are switched off here and in <see cref="CommandLineCheck"/>:
/// response files, bundles of short options, directives, /h. None of them can be distinguished from a value or a file name. Its
/// RootCommand is not used: it looks up its texts in resources, a tenth of a start, and adds the [suggest] directive.</remarks>
internal sealed class CommandTree
{
    private const string Name = "vmm";

    /// <summary>The library drops a first word that ends in a slash and the root's name, such as <c>--kernel=/boot/vmm</c>; no
    /// word ends in a slash and this name.</summary>
    private const string RootName = "/" + Name;

    private CommandTree(Command root, Option<bool> help, Option<bool> version) => (Root, Help, Version) = (root, help, version);

    public Command Root { get; }

    /// <summary>An option of every command.</summary>
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

    /// <param name="words">The words of the command line: commands that are not among them are left out, since most of a tree's
    /// cost is other commands. Null for the whole tree, which help, completions and errors need.</param>
    public static CommandTree Create(StartClock clock, string[]? words = null)
    {
        if (words is not null && words.Any(static word => word is "help" or "complete" or "completion" or "manual" or "--help" or "-h"))
        {
            words = null;
        }

        var root = new Command(RootName, "Boot a Linux kernel in a throw-away virtual machine");
        var run = new BootCommand();
        run.AddTo(root, clock);
        Add("run", () => RunCommand.Create(run, clock));
        MachineCommands.AddTo(Add);
        Add("exits", () => ExitsCommand.Create(run, clock));
        Add("boot-timeline", () => BootTimelineCommand.Create(run, clock));
        Add("check", CheckCommand.Create);
        Add("inspect", InspectCommand.Create);
        Add("snapshot", SnapshotCommand.Create);
        Add("fork", ForkCommand.Create);
        Add("restore", () => RestoreCommand.Create(clock));
        Add("rewind", RewindCommand.Create);
        Add("disk", DiskCommand.Create);
        Add("kernel", KernelCommand.Create);
        Add("exec", ExecCommand.Create);
        Add("cp", CopyCommand.Create);
        Add("attach", AttachCommand.Create);
        Add("ctl", CtlCommand.Create);
        Add("cache", CacheCommand.Create);
        Add("junit", JUnitCommand.Create);
        Add("completion", CompletionCommand.Create);
        Add("host", HostCommand.Create);
        var version = new Option<bool>("--version", "-V") { Description = "Print the version" };
        var help = new Option<bool>("--help", "-h") { Description = "Print this help", Recursive = true };
        root.Options.Add(new Option<bool>(EmulatedHost.Option) { Description = EmulatedHost.Description, Recursive = true });
        root.Options.Add(help);
        root.Options.Add(version);
        var tree = new CommandTree(root, help, version);
        Add("help", () => HelpCommand.Create(tree));
        Add("version", VersionCommand.Create);
        Add("complete", () => CompleteCommand.Create(tree));
        Add("manual", () => ManualCommand.Create(tree));
        LetFlagsTakeNoValue(root);
        return tree;

        void Add(string name, Func<Command> create)
        {
            if (words?.Contains(name) ?? true)
            {
                root.Subcommands.Add(create());
            }
        }
    }

    /// <summary>Help or the version, where an option asks for it; null otherwise. It is shown even if the rest has errors,
    /// unless the command is unknown.</summary>
    public string? Asked(ParseResult result) =>
        IsGiven(result, Help) && result.UnmatchedTokens.All(word => word is ['-', ..])
            ? HelpText.Format(result.CommandResult.Command, TextStyle.Of(1), isFull: false)
        : IsGiven(result, Version) ? VersionCommand.Text
        : null;

    /// <summary>(The library makes up results of flags that are not there.)</summary>
    private static bool IsGiven(ParseResult result, Option option) => result.GetResult(option) is { Implicit: false };

    /// <summary>Flags take no value: otherwise <c>--json true</c> would take a file of that name as value.</summary>
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

    /// <summary>The command as it is typed: <c>vmm disk create</c>.</summary>
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

    /// <summary>An option of a command, or of all commands; null if there is none of that name.</summary>
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

    /// <summary>The options of a command; those of all commands last.</summary>
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

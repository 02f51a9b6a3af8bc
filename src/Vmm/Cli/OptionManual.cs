using System.CommandLine;
using Vmm.Backends.Disks;
using Vmm.Backends.Networks;
using Vmm.Backends.Sockets;
using Vmm.Named;
using Vmm.Run.Many.Slurm;
using Vmm.Text;

namespace Vmm.Cli;

/// <summary>The documentation of an option besides its description: its group, and the parts of its value. Help, manual pages,
/// completions and the parsers' errors all use it.</summary>
internal static class OptionManual
{
    public const string OwnGroup = "Options";

    /// <summary>Groups, in the order in which help shows them; an option in none of them is the command's own.</summary>
    public static IEnumerable<(string Title, string[] Options)> Groups =>
    [
        ("Machine", ["--kernel", "--initrd", "--cmdline", "--cmdline-only", "--mem", "--cpus", "--cpu", "--name", "--control"]),
        ("Devices", ["--disk", "--net", "--vsock", "--share", "--vhost-user-blk", "--vhost-user-net", "--rng", "--balloon", "--console", "--port", "--transport", "--packed"]),
        ("Begin and end", ["--entry", "--no-kaslr", "--no-unpack", "--on-reboot", "--stop-timeout"]),
        ("In the background", ["--detach", "--restart", "--fork-port", "--cpu-limit", "--mem-high", "--io-limit", MachineStart.Option, MachineStart.ForkOption, MachineStart.NameOption]),
        ("Figures", ["--stats", "--profile", "--trace"]),
        ("With every command", ["--emulated", "--help", "--version"]),
    ];

    public static string GroupOf(string option)
    {
        foreach ((string title, string[] options) in Groups)
        {
            if (options.Contains(option, StringComparer.Ordinal))
            {
                return title;
            }
        }

        return OwnGroup;
    }

    /// <summary>The visible options of a command: its own first, then by group.</summary>
    public static IEnumerable<IGrouping<string, Option>> Grouped(Command command) => CommandTree.OptionsOf(command)
        .Where(option => !option.Hidden)
        .OrderBy(option => GroupOf(option.Name) == OwnGroup ? -1 : OrderOf(option.Name))
        .GroupBy(option => GroupOf(option.Name), StringComparer.Ordinal);

    /// <summary>An option's place in the groups; those in none come last.</summary>
    public static int OrderOf(string option) => Groups.SelectMany(group => group.Options).TakeWhile(each => each != option).Count();

    /// <summary>The parts of an option's value; none for most options.</summary>
    public static IReadOnlyList<ManualRow> PartsOf(string option) => option switch
    {
        "--disk" => DiskSpec.Parts,
        "--net" => [.. NetSpec.Modes, .. NetSpec.Parts],
        "--vsock" => VsockSpec.Parts,
        "--on" => SlurmPlace.Parts,
        "--cpu" => Cpu,
        "--entry" => Entry,
        _ => [],
    };

    private static ManualRow[] Cpu =>
    [
        new("host", "what this processor has (if not given)"),
        new("baseline", "x86-64-v2, the same on every host"),
        new("+NAME, -NAME", "a feature added or taken away, by its name in /proc/cpuinfo"),
    ];

    private static ManualRow[] Entry =>
    [
        new("auto", "by what the image is (if not given)"),
        new("linux64", "Linux's 64-bit boot protocol"),
        new("pvh", "the entry that an ELF note names (Xen's PVH)"),
        new("multiboot", "multiboot 1, 32-bit"),
    ];

    /// <summary>The syntax in help and manual pages: <c>-k, --kernel FILE</c>.</summary>
    public static string Syntax(Option option)
    {
        IEnumerable<string> names = option.Aliases.Where(alias => alias.Length == 2).Append(option.Name);
        string value = option.Arity switch
        {
            { MaximumNumberOfValues: 0 } => "",
            { MinimumNumberOfValues: 0 } => $"[={option.HelpName}]",
            _ => $" {option.HelpName}",
        };
        return string.Join(", ", names) + value;
    }
}

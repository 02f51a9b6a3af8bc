using System.CommandLine;
using System.Globalization;
using System.Reflection;
using Vmm.Backends.Disks;
using Vmm.Backends.Networks;
using Vmm.Backends.Sockets;
using Vmm.Cli;
using Vmm.Machines;
using Vmm.Text;

namespace Vmm.Tests.Cli;

/// <summary>What help, manual pages and the reference tell is all there is, and true.</summary>
public sealed class ManualTests
{
    private readonly Command _root = CommandTree.Create(new StartClock()).Root;

    private IEnumerable<Command> All => Reference.Commands(_root);

    [Fact]
    public void Every_option_and_command_is_described()
    {
        foreach (Command command in All)
        {
            Assert.False(string.IsNullOrEmpty(command.Description), command.Name);
            CommandManual manual = CommandManual.Of(command);
            Assert.NotEmpty(manual.Synopsis);
            Assert.True(command.Name == "version" || manual.Paragraphs.Length > 0, $"CommandManual.Of has nothing on {command.Name}");
            Assert.All(command.Arguments, argument => Assert.False(string.IsNullOrEmpty(argument.Description), argument.Name));
            foreach (Option option in command.Options)
            {
                Assert.False(string.IsNullOrEmpty(option.Description), option.Name);
                Assert.False(option.Description!.EndsWith('.'), $"{option.Name}: a full stop is added where one is wanted");
                Assert.True(
                    option.Arity.MaximumNumberOfValues == 0 || !string.IsNullOrEmpty(option.HelpName), $"{option.Name} has no HelpName");
            }
        }
    }

    [Fact]
    public void Every_option_of_a_machine_is_in_a_group_of_its_kind()
    {
        Assert.All(_root.Options, option => Assert.NotEqual(OptionManual.OwnGroup, OptionManual.GroupOf(option.Name)));
        Assert.All(
            OptionManual.Groups.SelectMany(group => group.Options),
            name => Assert.True(CommandTree.FindOption(_root, name) is not null, $"{name} is in a group, but is no option"));
    }

    [Fact]
    public void Every_exit_code_has_its_row()
    {
        IEnumerable<FieldInfo> codes = typeof(ExitCodes).GetFields(BindingFlags.Public | BindingFlags.Static)
            .Where(field => field.IsLiteral);
        string[] told = [.. ExitCodes.Of(boots: true).Select(row => row.Syntax.Split(' ')[0])];
        Assert.All(codes, code => Assert.Contains(
            ((int)code.GetRawConstantValue()!).ToString(CultureInfo.InvariantCulture), told));
    }

    /// <summary>The parsers know the parts that are told, by the same table.</summary>
    [Fact]
    public void Documented_values_are_accepted()
    {
        foreach (ManualRow row in DiskSpec.Parts)
        {
            foreach (string part in Samples(row))
            {
                _ = DiskSpec.Parse($"a.qcow2,{part}");
            }
        }

        foreach (ManualRow row in NetSpec.Parts)
        {
            foreach (string part in Samples(row))
            {
                _ = NetSpec.Parse(row.Syntax.StartsWith("queues", StringComparison.Ordinal) ? $"tap=t,{part}" : $"user,{part}");
            }
        }

        Assert.All(NetSpec.Modes, row => _ = NetSpec.Parse(Samples(row).First()));
        Assert.All(VsockSpec.Parts, row => _ = VsockSpec.Parse($"v,{Samples(row).First()}"));
    }

    [Fact]
    public void The_reference_in_the_documentation_is_of_today() => Assert.True(
        File.ReadAllText(Path.Combine(Repository(), "docs/reference.md")) == Reference.Format(_root),
        "docs/reference.md is not what 'vmm manual markdown' prints: run 'make reference'");

    [Fact]
    public void A_manual_page_escapes_what_roff_would_read()
    {
        foreach (Command command in All)
        {
            string page = ManPage.Format(command, "1.2.3");
            Assert.Contains(".SH NAME\n", page, StringComparison.Ordinal);
            Assert.Contains(".SH EXIT STATUS\n", page, StringComparison.Ordinal);
            Assert.All(page.Split('\n'), line => Assert.False(line.StartsWith('\''), line));
            Assert.DoesNotContain("\n\n", page, StringComparison.Ordinal);
            foreach (Option option in CommandTree.OptionsOf(command).Where(static option => !option.Hidden))
            {
                Assert.Contains(option.Name.Replace("-", "\\-", StringComparison.Ordinal), page, StringComparison.Ordinal);
            }
        }
    }

    [Theory]
    [InlineData(60)]
    [InlineData(100)]
    public void Help_is_as_wide_as_the_terminal(int width)
    {
        foreach (Command command in All)
        {
            string help = HelpText.Format(command, new TextStyle(width, Colour: false), isFull: true);

            // Usage and examples stay in one piece: they are to be copied.
            Assert.All(help.Split('\n').Where(line => !line.Contains("vmm ", StringComparison.Ordinal) && line.Contains("  ", StringComparison.Ordinal)), line =>
                Assert.True(line.Length <= width || !line.TrimStart().Contains(' ', StringComparison.Ordinal), line));
            Assert.DoesNotContain('\e', help);
        }
    }

    /// <summary>Of <c>cache=none|unsafe</c> both; of <c>queues=N</c> one that will do.</summary>
    private static IEnumerable<string> Samples(ManualRow row)
    {
        if (row.Syntax.Split('=', 2) is not [var name, var values])
        {
            return [row.Syntax];
        }

        return values.Split('|').Select(value => $"{name}=" + value switch
        {
            "BYTES" or "SIZE" => "1024",
            "N" => "3",
            "RATE" => "0.5",
            "MS" => "5",
            "ADDRESS" => "52:54:00:12:34:56",
            "[ADDRESS:]PORT[:GUESTPORT]" => "127.0.0.1:8080:80",
            _ => value.Replace("@RATE", "@0.5", StringComparison.Ordinal).Replace("@MS", "@5", StringComparison.Ordinal)
                .Replace("@SECTOR", "@7", StringComparison.Ordinal),
        });
    }

    private static string Repository()
    {
        DirectoryInfo? at = new(AppContext.BaseDirectory);
        while (at is not null && !File.Exists(Path.Combine(at.FullName, "Vmm.sln")))
        {
            at = at.Parent;
        }

        return at!.FullName;
    }
}

using Vmm.Cli;

namespace Vmm.Tests.Cli;

public sealed class CompletionsTests
{
    [Theory]
    [InlineData("exi", "exits")]
    [InlineData("disk ", "create")]
    [InlineData("--ker", "--kernel")]
    [InlineData("exits --form", "--format")]
    [InlineData("exits --format ", "table json folded")]
    [InlineData("exits --format=j", "--format=json")]
    [InlineData("exits -k x --until", "")]
    [InlineData("boot-timeline --until ", "init shell")]
    [InlineData("--kernel ", "")]
    [InlineData("--kernel exits --transport ", "pci mmio")]
    [InlineData("--transport m", "mmio")]
    [InlineData("--entry p", "pvh")]
    [InlineData("--disk a", "")]
    [InlineData("--disk a.img,rea", "a.img,readonly")]
    [InlineData("--disk=a.img,cache=w", "--disk=a.img,cache=writeback --disk=a.img,cache=writethrough")]
    [InlineData("--disk a.img,readonly,qu", "a.img,readonly,queues=")]
    [InlineData("--net t", "tap=")]
    [InlineData("--net user,pub", "user,publish=")]
    [InlineData("completion ", "bash zsh fish")]
    [InlineData("completion bash ", "")]
    [InlineData("disk create --fo", "--format")]
    [InlineData("--vers", "--version")]
    [InlineData("check --vers", "")]
    [InlineData("check --he", "--help")]
    [InlineData("nonsense --bogus --ker", "--kernel")]
    [InlineData("-- --ker", "")]
    [InlineData("complet", "completion")]
    public void The_last_word_is_completed(string line, string expected) => Assert.Equal(
        expected.Split(' ', StringSplitOptions.RemoveEmptyEntries),
        Completions.Of(CommandTree.Create(new StartClock()).Root, line.Split(' ')).Select(row => row.Syntax));

    [Fact]
    public void An_empty_line_is_completed_by_commands_that_people_see()
    {
        string[] found = [.. Completions.Of(CommandTree.Create(new StartClock()).Root, [""]).Select(row => row.Syntax)];
        Assert.Contains("exits", found);
        Assert.Contains("help", found);
        Assert.DoesNotContain("complete", found);
        Assert.DoesNotContain("manual", found);
        Assert.Equal(found, Completions.Of(CommandTree.Create(new StartClock()).Root, []).Select(row => row.Syntax));
    }
}

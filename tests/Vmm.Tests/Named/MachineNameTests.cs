using Vmm.Host;
using Vmm.Named;

namespace Vmm.Tests.Named;

public sealed class MachineNameTests
{
    [Theory]
    [InlineData("a")]
    [InlineData("0")]
    [InlineData("db")]
    [InlineData("web-1.example_x")]
    [InlineData("a..b")]
    public void Plain_names_are_taken(string name) => Assert.Equal(name, MachineName.Check(name, "--name"));

    [Theory]
    [InlineData("")]
    [InlineData(".")]
    [InlineData("..")]
    [InlineData(".hidden")]
    [InlineData("-f")]
    [InlineData("_a")]
    [InlineData("/etc")]
    [InlineData("a/b")]
    [InlineData("../a")]
    [InlineData("A")]
    [InlineData("a b")]
    [InlineData("a\nb")]
    [InlineData("a\0b")]
    [InlineData("\u00e4")]
    [InlineData("\e[31m")]
    public void Paths_and_what_is_hard_to_type_are_one_clear_line(string name)
    {
        string message = Assert.Throws<UsageException>(() => MachineName.Check(name, "--name")).Message;
        Assert.StartsWith("--name ", message, StringComparison.Ordinal);
        Assert.DoesNotContain(message, char.IsControl);
    }

    [Theory]
    [InlineData(63, true)]
    [InlineData(64, false)]
    [InlineData(10_000, false)]
    public void Long_names_are_not_shown_whole(int length, bool isTaken)
    {
        string name = new('a', length);
        Assert.Equal(isTaken, MachineName.IsValid(name));
        if (!isTaken)
        {
            Assert.InRange(Assert.Throws<UsageException>(() => MachineName.Check(name, "")).Message.Length, 1, 250);
        }
    }

    [Fact]
    public void Two_words_are_a_name_and_never_one_that_is_taken()
    {
        var taken = new HashSet<string>(StringComparer.Ordinal);
        for (int i = 0; i < 5000; i++)
        {
            string name = MachineName.Invent(taken.Contains);
            Assert.True(MachineName.IsValid(name), name);
            Assert.True(taken.Add(name), name);
        }
    }
}

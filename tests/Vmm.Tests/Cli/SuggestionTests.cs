using Vmm.Boot;
using Vmm.Text;

namespace Vmm.Tests.Cli;

public sealed class SuggestionTests
{
    private static readonly string[] Options = ["--kernel", "--disk", "--net", "--mem", "--cpu", "--cpus", "--rng", "--initrd"];

    [Theory]
    [InlineData("--kernle", "--kernel")]
    [InlineData("-disk", "--disk")]
    [InlineData("--DISK", "--disk")]
    [InlineData("--init", "--initrd")]
    [InlineData("--memm", "--mem")]
    [InlineData("--cpuss", "--cpus")]
    [InlineData("--quite", null)]
    [InlineData("-x", null)]
    [InlineData("--", null)]
    public void The_most_similar_word_is_found_if_there_is_one(string word, string? expected) =>
        Assert.Equal(expected, Suggestion.Closest(word, Options));

    [Theory]
    [InlineData("", "", 0)]
    [InlineData("abc", "", 3)]
    [InlineData("abc", "abd", 1)]
    [InlineData("abc", "acb", 1)]
    [InlineData("abc", "ab", 1)]
    [InlineData("kitten", "sitting", 3)]
    public void Distances_count_letters_changed(string from, string to, int expected)
    {
        Assert.Equal(expected, EditDistance.Between(from, to));
        Assert.Equal(expected, EditDistance.Between(to, from));
    }
}

using System.Text;
using Vmm.Host;
using Vmm.Insight.Timeline;

namespace Vmm.Tests.Timeline;

/// <summary>Feeds the console what kernels say, and what no kernel would.</summary>
public sealed class ConsoleLinesTests
{
    private long _now;

    [Fact]
    public void Lines_have_the_time_of_their_end_and_the_guests_own()
    {
        ConsoleLines console = New();
        Say(console, 100, "[    0.000000] Linux ver");
        Say(console, 250, "sion 6.1\r\n[    1.500000][    T1] smp: Brought up 1 node, 1 CPU\n");
        Say(console, 300, "without a clock\n\n");
        Assert.Equal(
            [
                new KernelLine(250, 0, "Linux version 6.1"), new KernelLine(250, 1.5, "smp: Brought up 1 node, 1 CPU"),
                new KernelLine(300, null, "without a clock"), new KernelLine(300, null, ""),
            ],
            console.Lines);
        Assert.Equal(100, console.FirstByte);
    }

    [Theory]
    [InlineData("[1.0", "[1.0")]
    [InlineData("[]", "[]")]
    [InlineData("[ 12] no fraction", "[ 12] no fraction")]
    [InlineData("[    -1.5] negative", "[    -1.5] negative")]
    [InlineData("[99999999999999999999999999.1] endless", "[99999999999999999999999999.1] endless")]
    [InlineData("[1.0e5] exponent", "[1.0e5] exponent")]
    public void What_is_no_time_is_text(string line, string text) =>
        Assert.Equal(new KernelLine(7, null, text), KernelLine.Parse(7, Encoding.UTF8.GetBytes(line)));

    [Theory]
    [InlineData("\e[1;31mred\e[0m", "red")]
    [InlineData("\e]0;title\a", "0;title")]
    [InlineData("bell\a back\b nul\0 tab\tend", "bell back nul tab end")]
    [InlineData("\e[", "")]
    [InlineData("\e", "")]
    [InlineData("\u009b31mC1\u202e right-to-left", "31mC1 right-to-left")]
    public void Nothing_that_a_terminal_would_obey_is_kept(string said, string text) =>
        Assert.Equal(text, KernelLine.Parse(0, Encoding.UTF8.GetBytes(said)).Text);

    [Fact]
    public void Bytes_that_are_no_text_do_no_harm()
    {
        var random = new Random(1);
        byte[] noise = new byte[100_000];
        random.NextBytes(noise);
        ConsoleLines console = New();
        console.Sent(noise);
        Assert.All(console.Lines, line => Assert.DoesNotContain(line.Text, char.IsControl));
    }

    [Fact]
    public void Endless_and_countless_lines_take_a_fixed_amount_of_memory()
    {
        ConsoleLines console = New();
        Say(console, 1, new string('x', 1 << 20) + "\n");
        Assert.Equal(ConsoleLines.LongestLine, Assert.Single(console.Lines).Text.Length);
        for (int i = 0; i < ConsoleLines.MostLines + 9; i++)
        {
            Say(console, 2, "again\n");
        }

        Assert.Equal(ConsoleLines.MostLines, console.Lines.Count);
        Assert.Equal(10, console.Dropped);
    }

    [Theory]
    [InlineData("init", "[    1.0] Run /sbin/init as init process", true)]
    [InlineData("shell", "vmm:~# ", false)]
    [InlineData("login:", "debian login:", false)]
    public void What_is_waited_for_is_reached_once_and_at_its_time(string text, string said, bool needsEnd)
    {
        int reached = 0;
        ConsoleLines console = New(Until.Parse(text));
        console.Reached += () => reached++;
        Say(console, 5, "[    0.5] something else\n");
        Assert.Equal(0, reached);
        Say(console, 9, said);
        Assert.Equal(needsEnd ? 0 : 1, reached);
        Say(console, 9, "\n" + said + "\n");
        Assert.Equal(1, reached);
        Assert.Equal(9, console.ReachedAt);
    }

    [Fact]
    public void Nothing_to_wait_for_is_an_error() => Assert.Throws<UsageException>(() => Until.Parse(""));

    private ConsoleLines New(Until? until = null) => new(0, until, () => _now);

    private void Say(ConsoleLines console, long now, string text)
    {
        _now = now;
        console.Sent(Encoding.UTF8.GetBytes(text));
    }
}

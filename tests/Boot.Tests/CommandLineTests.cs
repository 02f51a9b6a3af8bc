namespace Vmm.Boot.Tests;

public sealed class CommandLineTests
{
    [Theory]
    [InlineData(null, false, "console=ttyS0 reboot=k panic=-1 a=b")]
    [InlineData("", false, "console=ttyS0 reboot=k panic=-1 a=b")]
    [InlineData("quiet -- sh", false, "console=ttyS0 reboot=k panic=-1 a=b quiet -- sh")]
    [InlineData("quiet", true, "quiet")]
    [InlineData(null, true, "")]
    public void What_the_user_gives_is_added_or_replaces(string? given, bool only, string line) =>
        Assert.Equal(line, CommandLine.Compose(given, only, "a=b"));
}

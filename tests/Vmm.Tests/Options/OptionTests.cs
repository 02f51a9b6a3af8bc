using Vmm.Backends.Disks;
using Vmm.Host;
using Vmm.Machines;
using Vmm.Text;

namespace Vmm.Tests.Options;

public sealed class OptionTests
{
    [Theory]
    [InlineData("32M", 32UL << 20)]
    [InlineData("1G", 1UL << 30)]
    [InlineData("65536K", 64UL << 20)]
    [InlineData("6g", 6UL << 30)]
    [InlineData("268435456", 256UL << 20)]
    public void Memory_sizes_are_understood(string text, ulong bytes) =>
        Assert.Equal(bytes, MachineSpec.ParseMemory(text));

    [Theory]
    [InlineData("0")]
    [InlineData("0M")]
    [InlineData("31M")]
    [InlineData("1Q")]
    [InlineData("1024")]
    [InlineData("")]
    [InlineData("M")]
    [InlineData("-1G")]
    [InlineData("1.5G")]
    [InlineData(" 1G")]
    [InlineData("99999999999999999999G")]
    [InlineData("99999999T")]
    [InlineData("32769K")]
    public void Wrong_memory_sizes_are_one_clear_line(string text)
    {
        var error = Assert.Throws<UsageException>(() => MachineSpec.ParseMemory(text));
        Assert.StartsWith("--mem ", error.Message, StringComparison.Ordinal);
        Assert.DoesNotContain('\n', error.Message);
    }

    [Theory]
    [InlineData(1UL << 30, "1G")]
    [InlineData(1536UL << 20, "1536M")]
    [InlineData(1UL << 40, "1T")]
    [InlineData(4096UL, "4K")]
    [InlineData(1000UL, "1000")]
    public void Sizes_are_written_as_short_as_they_can_be(ulong bytes, string text) =>
        Assert.Equal(text, ByteSize.Format(bytes));

    [Fact]
    public void A_switch_is_on_or_off()
    {
        Assert.True(MachineSpec.ParseSwitch("on", "--balloon"));
        Assert.False(MachineSpec.ParseSwitch("off", "--balloon"));
        Assert.Equal(
            "--balloon=yes: there are on and off",
            Assert.Throws<UsageException>(() => MachineSpec.ParseSwitch("yes", "--balloon")).Message);
    }

    [Theory]
    [InlineData("0", "--cpus 0: a machine has at least one")]
    [InlineData("-3", "--cpus -3: a machine has at least one")]
    [InlineData("", "--cpus : not a number; write for instance --cpus 2")]
    [InlineData("two", "--cpus two: not a number; write for instance --cpus 2")]
    [InlineData("2147483648", "--cpus 2147483648: not a number; write for instance --cpus 2")]
    public void A_machine_has_at_least_one_cpu(string text, string error) =>
        Assert.Equal(error, Assert.Throws<UsageException>(() => MachineSpec.ParseCpus(text)).Message);

    [Fact]
    public void A_disk_is_a_path_and_options()
    {
        Assert.Equal(new DiskSpec("a.img", false), DiskSpec.Parse("a.img"));
        Assert.Equal(new DiskSpec("a.img", true), DiskSpec.Parse("a.img,readonly"));
        Assert.Throws<UsageException>(() => DiskSpec.Parse(""));
        Assert.Throws<UsageException>(() => DiskSpec.Parse(",readonly"));
        var error = Assert.Throws<UsageException>(() => DiskSpec.Parse("a.img,redonly"));
        Assert.Contains("'redonly'", error.Message, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("0", 0)]
    [InlineData("90", 90)]
    [InlineData("1.5", 1.5)]
    [InlineData("2m", 120)]
    public void Stop_timeouts_are_durations_or_nothing(string text, double seconds) =>
        Assert.Equal(TimeSpan.FromSeconds(seconds), TimeSpanText.Parse(text, "--stop-timeout", zeroIsNoLimit: true));

    [Theory]
    [InlineData("")]
    [InlineData("-1")]
    [InlineData("1d")]
    [InlineData("NaN")]
    [InlineData("1e3")]
    [InlineData("99999999999")]
    public void Wrong_stop_timeouts_are_one_clear_line(string text)
    {
        var error = Assert.Throws<UsageException>(() => TimeSpanText.Parse(text, "--stop-timeout", zeroIsNoLimit: true));
        Assert.StartsWith("--stop-timeout ", error.Message, StringComparison.Ordinal);
        Assert.DoesNotContain('\n', error.Message);
    }

    /// <summary>A command may not run for no time at all.</summary>
    [Theory]
    [InlineData("NaN")]
    [InlineData("NaNs")]
    [InlineData("0")]
    [InlineData("0m")]
    [InlineData("s")]
    public void Wrong_time_limits_are_one_clear_line(string text) =>
        Assert.StartsWith("--timeout ", Assert.Throws<UsageException>(() => TimeSpanText.Parse(text, "--timeout")).Message, StringComparison.Ordinal);
}

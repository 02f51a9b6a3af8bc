using System.Globalization;
using System.Text.Json;
using Vmm.Insight.Profile;
using Vmm.Text;

namespace Vmm.Tests.Profiling;

/// <summary>The three forms of a profile, read back.</summary>
public sealed class ProfileFormatTests
{
    private static readonly Dictionary<string, ulong> KvmCounters = new()
    {
        ["mmio_exits"] = 3,
        ["io_exits"] = 0,
        ["signal_exits"] = 9,
        ["something_else"] = 1,
    };

    private readonly ExitProfile _profile = new(
        [
            [Row(new ExitName("IO", "COM1", "THR", "write 1"), 10, 100, 5000), Row(new ExitName("MMIO", "blk;0", "a \"b\"", "read 4"), 2, 40, 60)],
            [Row(new ExitName("IO", "COM1", "THR", "write 1"), 5, 300, 1000), Row(new ExitName("MMIO", "blk;0", "a \"b\"", "read 4"), 1, 40, 60),
             Row(new ExitName("INTR", "", "signal", ""), 1, 7, 8)],
        ],
        KvmCounters,
        TimeSpan.FromMilliseconds(1.5));

    [Fact]
    public void Lines_of_several_vCPUs_are_summed()
    {
        Assert.Equal(19, _profile.Exits);
        Assert.Equal((10 * 100) + (5 * 300) + (3 * 40) + 7, _profile.InVmm);
        Assert.Equal((10 * 5000) + (5 * 1000) + (3 * 60) + 8, _profile.InKvm);
        Assert.Equal(["COM1 THR write 1", "blk;0 a \"b\" read 4", "INTR signal"], _profile.Lines.Select(line => line.Name.ToString()));
        Assert.Equal([15L, 3, 1], _profile.Lines.Select(line => line.InVmm.Count));
        Assert.Equal([("IO", 15L), ("MMIO", 3), ("INTR", 1)], _profile.ByReason.Select(group => (group.Name, group.Exits)));
        Assert.Equal([("COM1", 15L), ("blk;0", 3)], _profile.ByDevice.Select(group => (group.Name, group.Exits)));
    }

    [Fact]
    public void What_KVM_counts_is_set_beside_what_vmm_does()
    {
        Assert.Equal(
            [("mmio_exits", 3UL, 3L, true), ("signal_exits", 9, 1, false), ("io_exits", 0, 15, true)],
            _profile.Comparisons.Select(line => (line.Counter, line.Kvm, line.Vmm, line.Agrees)));
        string text = ProfileText.Format(_profile);
        Assert.Matches(@"mmio_exits +3 +3 +MMIO +agrees\n", text);
        Assert.Matches(@"signal_exits +9 +1 +INTR by a signal +DIFFERS\n", text);
        Assert.Matches(@"io_exits +0 +15 +IO +not the same thing\n", text);
    }

    [Fact]
    public void The_table_has_a_line_for_each_name_and_says_the_sums()
    {
        string text = ProfileText.Format(_profile);
        Assert.StartsWith(
            "19 exits of 2 vCPUs in 1.50 ms: 55.2 us in KVM_RUN (guest and kernel), 2.63 us in vmm (4.54 %)\n", text, StringComparison.Ordinal);
        Assert.Matches(@"\n +15  IO +COM1 +THR +write 1 +2\.50 us +100 ns +10[0-3] ns +300 ns +300 ns +300 ns +55\.0 us +[0-9.]+ us\n", text);
        Assert.All(text.Split('\n'), line => Assert.Equal(line.TrimEnd(), line));
    }

    [Fact]
    public void Json_adds_up()
    {
        using var document = JsonDocument.Parse(ProfileJson.Format(_profile));
        JsonElement root = document.RootElement;
        JsonElement[] lines = [.. root.GetProperty("lines").EnumerateArray()];
        Assert.Equal(root.GetProperty("exits").GetInt64(), lines.Sum(line => line.GetProperty("exits").GetInt64()));
        Assert.Equal(root.GetProperty("inVmmNs").GetInt64(), lines.Sum(line => line.GetProperty("inVmm").GetProperty("sumNs").GetInt64()));
        Assert.Equal("a \"b\"", lines[1].GetProperty("register").GetString());
        Assert.Equal(300, lines[0].GetProperty("inVmm").GetProperty("maxNs").GetInt64());
        Assert.False(root.GetProperty("kvm")[1].GetProperty("agrees").GetBoolean());
    }

    [Fact]
    public void Folded_stacks_hold_all_the_time_and_no_stray_separators()
    {
        long sum = 0;
        string folded = FoldedStacks.Format(_profile);
        foreach (string line in folded.Split('\n', StringSplitOptions.RemoveEmptyEntries))
        {
            int space = line.LastIndexOf(' ');
            sum += long.Parse(line[(space + 1)..], CultureInfo.InvariantCulture);
            Assert.InRange(line[..space].Split(';').Length, 2, 5);
        }

        Assert.Equal(_profile.InVmm + _profile.InKvm, sum);
        Assert.Contains("vmm;MMIO;blk,0;a \"b\";read 4 120\n", folded, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData(0, "0 ns")]
    [InlineData(999, "999 ns")]
    [InlineData(1000, "1.00 us")]
    [InlineData(9_994, "9.99 us")]
    [InlineData(9_996, "10.0 us")]
    [InlineData(99_960, "100 us")]
    [InlineData(999_600, "1.00 ms")]
    [InlineData(12_345_678_901, "12.3 s")]
    public void Durations_have_three_digits(long nanoseconds, string text) => Assert.Equal(text, Duration.Format(nanoseconds));

    private static ExitRow Row(ExitName name, int count, long inVmm, long inKvm)
    {
        var row = new ExitRow(name);
        for (int i = 0; i < count; i++)
        {
            row.InVmm.Record(inVmm);
            row.InKvm.Record(inKvm);
        }

        return row;
    }
}

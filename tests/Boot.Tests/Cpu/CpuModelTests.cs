using FsCheck;
using FsCheck.Fluent;

namespace Vmm.Boot.Tests.Cpu;

public sealed class CpuModelTests
{
    private static CpuFeatureSet Select(string model, params string[] without) =>
        new CpuidTemplate(
            SampleCpuid.Intel(without), new CpuidOptions { Cpus = 1, Model = CpuModel.Parse(model) }).Features;

    [Theory]
    [InlineData("host", "host")]
    [InlineData(" HOST , -AVX512F ", "host,-avx512f")]
    [InlineData("baseline,+avx2,-pcid,+avx2", "baseline,+avx2,-pcid")]
    [InlineData("host\n,-avx", "host,-avx")]
    [InlineData("host,-sse4.2,-cmpxchg16b", "host,-sse4_2,-cx16")]
    public void A_model_is_read(string text, string shown) => Assert.Equal(shown, CpuModel.Parse(text).ToString());

    [Theory]
    [InlineData("", "--cpu needs a model: host or baseline, then features as in host,-avx512f")]
    [InlineData("skylake", "--cpu skylake: no such model; there are host and baseline")]
    [InlineData("host,avx2", "--cpu: write +avx2 to add that feature or -avx2 to take it away")]
    [InlineData("host,", "--cpu: a feature name is missing; write for example host,-avx512f")]
    [InlineData("host,-", "--cpu: a feature name is missing; write for example host,-avx512f")]
    [InlineData("host,-avx521f",
        "--cpu: unknown feature avx521f (did you mean avx512f?); names are those of /proc/cpuinfo")]
    [InlineData("host,-xx,+qwertyuiop",
        "--cpu: unknown feature xx (did you mean nx?), qwertyuiop; names are those of /proc/cpuinfo")]
    [InlineData("host,-avx,+avx", "--cpu: avx is both added and taken away")]
    [InlineData("host,-sse3,+pni", "--cpu: pni is both added and taken away")]
    public void A_wrong_model_is_refused_with_one_line(string text, string message) =>
        Assert.Equal(message, Assert.Throws<CpuModelException>(() => CpuModel.Parse(text)).Message);

    [Theory]
    [InlineData("host,+xop", "--cpu: xop: not supported by this host's KVM")]
    [InlineData("host,+xop,+avx2,+fma4", "--cpu: xop, fma4: not supported by this host's KVM")]
    [InlineData("host,+pdcm", "--cpu: pdcm: not offered by vmm")]
    [InlineData("host,-sse2", "--cpu: sse2 cannot be taken away: a 64-bit guest does not start without it")]
    [InlineData("baseline,+avx2,-xsave", "--cpu: avx2 needs xsave, which is taken away")]
    public void What_cannot_be_had_is_refused_with_one_line(string text, string message) =>
        Assert.Equal(message, Assert.Throws<CpuModelException>(() => Select(text)).Message);

    [Fact]
    public void Baseline_is_refused_where_the_host_has_less() =>
        Assert.Equal(
            "--cpu: cx16, popcnt: needed by --cpu baseline and not supported by this host's KVM",
            Assert.Throws<CpuModelException>(() => Select("baseline", "popcnt", "cx16")).Message);

    /// <summary>Such a host is the one of kind 3 that builds this project: it has level 2 and no RDTSCP.</summary>
    [Fact]
    public void Baseline_needs_level_2_of_the_host_and_nothing_else()
    {
        CpuFeatureSet features = Select("baseline", "rdtscp", "sep", "clflush", "smep", "smap", "umip", "pcid", "invpcid");
        Assert.True(features.Contains("sse4_2"));
        Assert.False(features.Contains("rdtscp"));
    }

    [Fact]
    public void An_added_feature_brings_what_it_needs()
    {
        CpuFeatureSet features = Select("baseline,+avx2");
        Assert.True(features.Contains("avx") && features.Contains("xsave") && features.Contains("avx2"));
        Assert.False(features.Contains("fma"));
    }

    [Fact]
    public void Taking_away_what_is_not_there_does_no_harm() =>
        Assert.Equal(Select("host").Names, Select("host,-xop,-3dnow").Names);

    [Fact]
    public void Every_name_can_be_added_or_taken_away_or_is_refused_in_one_line()
    {
        foreach (string name in CpuFeatureNames.All)
        {
            foreach (string text in new[] { "host,-" + name, "host,+" + name, "baseline,-" + name, "baseline,+" + name })
            {
                try
                {
                    bool has = Select(text).Contains(name);
                    Assert.True(has == text.Contains('+', StringComparison.Ordinal), text);
                }
                catch (CpuModelException error)
                {
                    Assert.DoesNotContain('\n', error.Message);
                }
            }
        }
    }

    [Fact]
    public void A_selection_never_holds_a_feature_without_what_it_needs()
    {
        string[] names = [.. CpuFeatureNames.All.Order(StringComparer.Ordinal)];
        var random = new System.Random(20261122);
        for (int round = 0; round < 2000; round++)
        {
            string text = "host" + string.Concat(
                Enumerable.Range(0, random.Next(6)).Select(_ => ",-" + names[random.Next(names.Length)]));
            try
            {
                CpuFeatureSet features = Select(text);
                Assert.Equal(features.Names, CpuFeatureDependencies.DropUnsupported(features).Names);
            }
            catch (CpuModelException error)
            {
                Assert.EndsWith("does not start without it", error.Message, StringComparison.Ordinal);
            }
        }
    }

    /// <summary>Words from the list of names, so that most are valid; the test below has random text.</summary>
    [Fact]
    public void A_million_models_are_read_or_refused()
    {
        string[] names = [.. CpuFeatureNames.All];
        string[] noise = ["", "+", "host", "x", "\0", "avx-512", " avx ", "AVX", "sse4.1"];
        var random = new System.Random(20261124);
        int read = 0;
        for (int i = 0; i < 1_000_000; i++)
        {
            string text = random.Next(16) == 0 ? "base" : random.Next(2) == 0 ? "host" : "baseline";
            for (int count = random.Next(4); count > 0; count--)
            {
                string name = random.Next(16) == 0 ? noise[random.Next(noise.Length)] : names[random.Next(names.Length)];
                text = string.Concat(text, random.Next(2) == 0 ? ",+" : ",-", name);
            }

            try
            {
                CpuModel model = CpuModel.Parse(text);
                if (i % 16 == 0 && model.ToString() != CpuModel.Parse(model.ToString()).ToString())
                {
                    Assert.Fail($"{text} reads as {model}, and that as something else");
                }

                read++;
            }
            catch (CpuModelException error)
            {
                if (error.Message.Any(char.IsControl))
                {
                    Assert.Fail($"{text}: more than a line");
                }
            }
        }

        Assert.InRange(read, 100_000, 990_000);
    }

    [Fact]
    public void Any_text_is_read_or_refused_in_one_short_line() =>
        Check.One(
            Config.QuickThrowOnFailure.WithMaxTest(2000).WithReplay(11, 33),
            Prop.ForAll(
                Gen.Elements(
                    "host", "baseline", ",", "+", "-", "avx", "avx512", "f", "\n", "\u001b[31m", " ", "sse4.2", "\ud800", "0")
                    .ListOf().Select(parts => string.Concat(parts)).ToArbitrary(),
                text =>
                {
                    try
                    {
                        return CpuModel.Parse(text).ToString().Length > 0;
                    }
                    catch (CpuModelException error)
                    {
                        return error.Message.Length < 200 + (text.Length * 60) && !error.Message.Any(char.IsControl);
                    }
                }));
}

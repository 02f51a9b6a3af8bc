using System.Text;
using System.Text.RegularExpressions;
using System.Xml;
using Vmm.Host;
using Vmm.Insight.Timeline;
using Vmm.Text;

namespace Vmm.Tests.Timeline;

public sealed class TimelineTests
{
    private const long Ms = 1_000_000;
    private static readonly TextStyle Plain = new(100, false);

    private static readonly string[] Log =
    [
        "[    0.000000] Linux version 6.1.192 (builder@host) #1 SMP",
        "[    0.100000] Memory: 50000K/65536K available (8192K kernel code)",
        "[    0.300000] smp: Brought up 1 node, 1 CPU",
        "[    0.500000] ACPI: Interpreter enabled",
        "[    0.600000] PCI host bridge to bus 0000:00",
        "[    0.900000] serial8250: ttyS0 at I/O 0x3f8 (irq = 4, base_baud = 115200) is a 16550A",
        "[    1.000000] virtio_blk virtio0: 1/0/0 default/read/poll queues",
        "[    1.010000] virtio_blk virtio0: [vda] 262144 512-byte logical blocks (134 MB/128 MiB)",
        "[    1.200000] VFS: Mounted root (ext4 filesystem) on device 254:0.",
        "[    1.300000] Run /sbin/init as init process",
    ];

    [Fact]
    public void Milestones_of_a_kernel_are_recognised_in_order()
    {
        BootTimeline timeline = Tell(Log);
        Assert.Equal(
            ["open kernel", "load", "first exit", "console", "kernel speaks", "memory counted", "CPUs up", "ACPI", "PCI bus", "serial driver",
             "virtio_blk virtio0", "root mounted", "init", "end"],
            timeline.Steps.Select(step => step.Name));
        Assert.Equal(1.3, timeline.Find("init")!.Guest);
        AssertWhole(timeline);
    }

    [Fact]
    public void A_log_without_times_has_milestones_all_the_same()
    {
        BootTimeline timeline = Tell([.. Log.Select(line => line[15..])]);
        Assert.NotNull(timeline.Find("init"));
        Assert.All(timeline.Steps, step => Assert.Null(step.Guest));
        AssertWhole(timeline);
    }

    [Fact]
    public void A_guest_that_says_nothing_has_a_timeline()
    {
        BootTimeline timeline = Tell([], firstByte: null);
        Assert.Equal(["open kernel", "load", "first exit", "end"], timeline.Steps.Select(step => step.Name));
        Assert.Contains("end", TimelineText.Format(timeline, Plain), StringComparison.Ordinal);
        AssertWhole(timeline);
    }

    [Fact]
    public void Clocks_that_go_backwards_break_nothing()
    {
        BootTimeline timeline = Tell(["[    9.000000] ACPI: Interpreter enabled", "[    0.000001] PCI host bridge to bus 0"]);
        KernelLine[] backwards = [new(900, 1, "Linux version 1"), new(100, 0, "ACPI: Interpreter enabled")];
        AssertWhole(timeline with { Steps = [.. BootTimeline.StepsOfGuest(500, null, 950, 50, backwards, 700)], FirstEntry = 500, Total = 950 });
        Assert.Empty(BootTimeline.FindGaps(500, backwards, 700));
    }

    [Fact]
    public void Long_silences_are_found_longest_first()
    {
        KernelLine[] lines = [new(10 * Ms, 0, "a"), new(400 * Ms, 0, "b"), new(410 * Ms, 0, "c")];
        Assert.Equal(
            [new TimelineGap(410 * Ms, 1000 * Ms, "c", "end"), new TimelineGap(10 * Ms, 400 * Ms, "a", "b")],
            BootTimeline.FindGaps(0, lines, 1000 * Ms));
    }

    [Theory]
    [InlineData(60)]
    [InlineData(100)]
    [InlineData(200)]
    public void The_chart_fits_its_width(int width)
    {
        string text = TimelineText.Format(Tell(Log), new TextStyle(width, false));
        Assert.DoesNotContain('\e', text);
        Assert.All(text.Split('\n').Where(line => line.Contains('█') || line.Contains('▏')), line => Assert.InRange(line.Length, 1, width));
        Assert.Equal(width >= 80, text.Contains("guest's clock", StringComparison.Ordinal));
    }

    [Fact]
    public void Colour_is_an_addition_only()
    {
        string coloured = TimelineText.Format(Tell(Log), new TextStyle(100, true));
        Assert.Contains('\e', coloured);
        Assert.Equal(TimelineText.Format(Tell(Log), Plain), Regex.Replace(coloured, @"\e\[[0-9;]*m", ""));
    }

    [Fact]
    public void Json_reads_back_as_it_was_written()
    {
        BootTimeline timeline = Tell(Log);
        using var folder = new Folder();
        using (FileStream file = File.Create(folder["a.json"]))
        {
            TimelineJson.Write(file, timeline);
        }

        BootTimeline back = TimelineJson.Read(folder["a.json"]);
        Assert.Equal(timeline.Steps, back.Steps);
        Assert.Equal(timeline.Lines, back.Lines);
        Assert.Equal(timeline.Gaps, back.Gaps);
        Assert.Equal((timeline.Kernel, timeline.Total, timeline.Exits), (back.Kernel, back.Total, back.Exits));
    }

    [Theory]
    [InlineData("")]
    [InlineData("{}")]
    [InlineData("[1]")]
    [InlineData("{\"kernel\":7}")]
    public void What_is_no_timeline_is_refused_in_one_line(string content)
    {
        using var folder = new Folder();
        File.WriteAllText(folder["a.json"], content);
        UsageException error = Assert.Throws<UsageException>(() => TimelineJson.Read(folder["a.json"]));
        Assert.DoesNotContain('\n', error.Message);
        Assert.Throws<UsageException>(() => TimelineJson.Read(folder["missing.json"]));
    }

    [Fact]
    public void A_comparison_has_each_step_of_both()
    {
        BootTimeline first = Tell(Log);
        BootTimeline second = Tell([.. Log.Where(line => !line.Contains("ACPI", StringComparison.Ordinal)), "[    2.0] reboot: Power down"]);
        IReadOnlyList<TimelineComparison.Line> lines = TimelineComparison.Lines(first, second);
        Assert.Contains(lines, line => line is { Name: "ACPI", Second: null, Ratio: null });
        Assert.Contains(lines, line => line is { Name: "power off", First: null, Ratio: null });
        Assert.Equal(1.0, lines.First(line => line.Name == "load").Ratio);
        string text = TimelineComparison.Format("a.json", first, "b.json", second, Plain);
        Assert.Matches(@"\n  ACPI +guest +[0-9.]+ ms +-\n", text);
        Assert.Matches(@"\n  load +vmm +60\.0 ms +60\.0 ms +\+0 ns +1\.00\n", text);
    }

    [Fact]
    public void The_page_is_well_formed_and_needs_nothing_else()
    {
        string page = TimelineHtml.Format(Tell(Log));
        Parse(page);
        Assert.DoesNotMatch(@"(?i)https?://|<script|<link|<img|@import|url\(|\son[a-z]+=", page);
        Assert.Contains("default-src 'none'", page, StringComparison.Ordinal);
        Assert.Contains("virtio_blk virtio0", page, StringComparison.Ordinal);
    }

    [Fact]
    public void A_guest_cannot_write_into_the_page()
    {
        string[] evil =
        [
            "<script>alert(1)</script>", "\"><img src=x onerror=alert(1)>", "' onload='x", "</table></body>&lt;", "\ufffe\0\e[31m",
            "virtio_<b> virtio<script>: x", .. Log,
        ];
        string page = TimelineHtml.Format(Tell(evil) with { Kernel = "<script>.img", Ending = "</p><script>" });
        Parse(page);
        Assert.DoesNotContain("<script", page, StringComparison.OrdinalIgnoreCase);
        Assert.DoesNotContain("<img", page, StringComparison.Ordinal);
        Assert.Contains("&lt;script&gt;alert(1)&lt;/script&gt;", page, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("a<b>&\"'", "a&lt;b&gt;&amp;&quot;&#39;")]
    [InlineData("\0\n\u009b", "\ufffd\ufffd\ufffd")]
    [InlineData("\uffff", "\ufffd")]
    [InlineData("größer 😀", "größer 😀")]
    public void Escapes(string text, string html) => Assert.Equal(html, Html.Escape(text));

    [Fact]
    public void Half_a_character_is_none() => Assert.Equal("\ufffdx", Html.Escape('\ud800' + "x"));

    private static BootTimeline Tell(string[] log, long? firstByte = 200 * Ms)
    {
        const long FirstEntry = 100 * Ms;
        KernelLine[] lines =
        [
            .. log.Select((line, i) => KernelLine.Parse((210 + (i * i * 10)) * Ms, Encoding.UTF8.GetBytes(line))),
        ];
        long total = (lines.Length == 0 ? 300 * Ms : lines[^1].Time) + (50 * Ms);
        return new BootTimeline
        {
            Kernel = "bzImage",
            Host = "a test",
            Ending = "the guest powered off",
            FirstEntry = FirstEntry,
            Total = total,
            Steps =
            [
                .. BootTimeline.StepsOfVmm([("open kernel", 40 * Ms), ("load", FirstEntry)]),
                .. BootTimeline.StepsOfGuest(FirstEntry, 101 * Ms, firstByte, null, lines, total),
            ],
            Lines = lines,
            Gaps = BootTimeline.FindGaps(FirstEntry, lines, total),
            Exits = 1234,
            ConsoleExits = 1000,
            InVmm = 5 * Ms,
        };
    }

    /// <summary>The steps follow one another without a gap, and no length is below zero.</summary>
    private static void AssertWhole(BootTimeline timeline)
    {
        long at = timeline.Steps[0].Start;
        foreach (TimelineStep step in timeline.Steps)
        {
            Assert.Equal(at, step.Start);
            Assert.True(step.Length >= 0);
            at = step.End;
        }

        Assert.Equal(timeline.Total, at);
    }

    /// <summary>The page is XML as well, but for the elements without an end.</summary>
    private static void Parse(string page)
    {
        string xml = Regex.Replace(page, "<meta([^>]*)>", "<meta$1/>").Replace("<!doctype html>", "", StringComparison.Ordinal);
        var document = new XmlDocument();
        document.LoadXml(xml);
        Assert.Equal("html", document.DocumentElement!.Name);
    }

    private sealed class Folder : IDisposable
    {
        private readonly string _path = Directory.CreateTempSubdirectory("vmm-timeline-").FullName;

        public string this[string name] => Path.Combine(_path, name);

        public void Dispose() => Directory.Delete(_path, recursive: true);
    }
}

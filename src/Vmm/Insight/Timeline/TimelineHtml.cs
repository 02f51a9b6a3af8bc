using System.Globalization;
using Vmm.Text;

namespace Vmm.Insight.Timeline;

/// <summary>A timeline as one HTML page that needs nothing else: no script, no network, and a policy that forbids both.
/// </summary>
/// <remarks>What the page looks like is in timeline.html. All texts go through <see cref="Html.Escape"/> there, those of the guest
/// too.</remarks>
internal static class TimelineHtml
{
    private const string Template = "timeline.html";
    private const int MostGaps = 12;
    private const int SlowestLines = 15;
    private static readonly CultureInfo Culture = CultureInfo.InvariantCulture;

    public static string Format(BootTimeline timeline)
    {
        var slow = timeline.Gaps.Select(gap => gap.End).ToHashSet();
        return HtmlTemplate.Load(Template).Fill(new HtmlFields
        {
            { "kernel", timeline.Kernel },
            { "host", timeline.Host },
            { "ending", timeline.Ending },
            { "cards", Cards(timeline) },
            {
                "parts",
                [
                    Part("Before the first instruction: vmm", timeline.Steps.Where(step => !step.IsGuest), 0, timeline.FirstEntry, []),
                    Part(
                        "From the first instruction: the guest", timeline.Steps.Where(step => step.IsGuest), timeline.FirstEntry,
                        timeline.Total, timeline.Gaps),
                ]
            },
            { "gapTable", timeline.Gaps.Count == 0 ? null : new HtmlFields { { "gaps", timeline.Gaps.Take(MostGaps).Select(Gap) } } },
            { "slowestTable", timeline.Lines.Count < SlowestLines ? null : new HtmlFields { { "lines", Slowest(timeline) } } },
            { "lineCount", timeline.Lines.Count.ToString("N0", Culture) },
            {
                "dropped",
                timeline.DroppedLines == 0 ? null : new HtmlFields { { "count", timeline.DroppedLines.ToString("N0", Culture) } }
            },
            { "log", timeline.Lines.Select(line => LogLine(line, slow.Contains(line.Time))) },
        });
    }

    private static IEnumerable<HtmlFields> Cards(BootTimeline timeline)
    {
        yield return Card(Duration.Format(timeline.FirstEntry), "to the first instruction");
        if (timeline.Find(Milestones.Init) is { } init)
        {
            yield return Card(Duration.Format(init.End), "to init");
        }

        yield return Card(Duration.Format(timeline.Total), "in all");
        yield return Card(timeline.Exits.ToString("N0", Culture), $"exits, {timeline.ConsoleExits.ToString("N0", Culture)} for the console");
        yield return Card(Duration.Format(timeline.InVmm), "in vmm while the guest ran");

        static HtmlFields Card(string value, string label) => new() { { "value", value }, { "label", label } };
    }

    /// <param name="from">Where the bars' left end is, in nanoseconds.</param>
    /// <param name="to">Where their right end is.</param>
    private static HtmlFields Part(
        string title, IEnumerable<TimelineStep> steps, long from, long to, IReadOnlyList<TimelineGap> gaps)
    {
        TimelineStep[] rows = [.. steps];
        bool hasClock = rows.Any(row => row.Guest is not null);
        return new HtmlFields
        {
            { "title", title },
            { "guestClock", hasClock ? new HtmlFields() : null },
            { "gapKey", gaps.Count > 0 ? new HtmlFields() : null },
            { "steps", rows.Select(Row) },
        };

        HtmlFields Row(TimelineStep step) => new()
        {
            { "name", step.Name },
            { "end", Duration.Format(step.End) },
            { "length", Duration.Format(step.Length) },
            { "guestClock", hasClock ? new HtmlFields { { "seconds", step.Guest?.ToString("0.000 s", Culture) ?? "" } } : null },
            {
                "bars",
                gaps.Where(gap => gap.Start < step.End && gap.End > step.Start)
                    .Select(gap => Bar("gap", Math.Max(gap.Start, step.Start), Math.Min(gap.End, step.End), from, to))
                    .Prepend(Bar(step.IsGuest ? "guest" : "vmm", step.Start, step.End, from, to))
            },
        };
    }

    private static HtmlFields Bar(string kind, long start, long end, long from, long to)
    {
        double whole = Math.Max(to - from, 1);
        double left = Math.Clamp(100 * (start - from) / whole, 0, 100);
        double width = Math.Clamp(100 * (end - start) / whole, 0, 100 - left);
        return new() { { "kind", kind }, { "left", left.ToString("0.###", Culture) }, { "width", width.ToString("0.###", Culture) } };
    }

    private static HtmlFields Gap(TimelineGap gap) => new()
    {
        { "length", Duration.Format(gap.End - gap.Start) },
        { "start", Duration.Format(gap.Start) },
        { "before", gap.Before },
        { "after", gap.After },
    };

    private static IEnumerable<HtmlFields> Slowest(BootTimeline timeline)
    {
        var lines = timeline.Lines.Zip(timeline.Lines.Skip(1), (before, line) => (line, took: line.Time - before.Time))
            .OrderByDescending(pair => pair.took).Take(SlowestLines).ToArray();
        long longest = Math.Max(lines[0].took, 1);
        return lines.Select(pair => new HtmlFields
        {
            { "took", Duration.Format(pair.took) },
            { "bars", Bar("guest", 0, pair.took, 0, longest) },
            { "text", pair.line.Text },
        });
    }

    private static HtmlFields LogLine(KernelLine line, bool isSlow) => new()
    {
        { "slow", isSlow ? new HtmlFields() : null },
        { "host", (line.Time / 1e9).ToString("0.000", Culture) },
        { "guest", line.Guest?.ToString("0.000", Culture) ?? "" },
        { "text", line.Text },
    };
}

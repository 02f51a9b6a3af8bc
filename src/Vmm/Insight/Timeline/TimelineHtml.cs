using System.Globalization;
using System.Text;
using Vmm.Text;

namespace Vmm.Insight.Timeline;

/// <summary>A timeline as one HTML page that needs nothing else: no script, no network, and a policy that forbids both.
/// </summary>
/// <remarks>All that the guest said goes through <see cref="Html.Escape"/>, in text and in attributes.</remarks>
internal static class TimelineHtml
{
    private const int MostGaps = 12;
    private const int SlowestLines = 15;
    private static readonly CultureInfo Culture = CultureInfo.InvariantCulture;

    private const string Style = """
        :root{color-scheme:light dark;--bg:#fbfbfa;--card:#fff;--ink:#1d2329;--dim:#68717a;--line:#e3e5e8;--vmm:#2f6fde;
        --guest:#2a9d6e;--gap:#d9822b;--track:#eef0f2}
        @media(prefers-color-scheme:dark){:root{--bg:#14171a;--card:#1c2024;--ink:#e4e7ea;--dim:#939ca5;--line:#2c3238;
        --vmm:#6c9ef5;--guest:#4cc38f;--gap:#e8a04f;--track:#262b30}}
        *{box-sizing:border-box}
        body{margin:0;background:var(--bg);color:var(--ink);font:15px/1.5 system-ui,sans-serif}
        main{max-width:1080px;margin:0 auto;padding:32px 20px 64px}
        h1{font-size:24px;margin:0 0 4px;overflow-wrap:anywhere}h2{font-size:17px;margin:36px 0 10px}
        p{margin:4px 0;color:var(--dim)}
        .cards{display:grid;grid-template-columns:repeat(auto-fit,minmax(150px,1fr));gap:12px;margin:22px 0 0}
        .card{background:var(--card);border:1px solid var(--line);border-radius:8px;padding:12px 14px}
        .card b{display:block;font-size:22px;font-variant-numeric:tabular-nums}
        .card span{color:var(--dim);font-size:13px}
        table{border-collapse:collapse;width:100%;background:var(--card);border:1px solid var(--line);border-radius:8px}
        th{font-weight:500;color:var(--dim);font-size:13px;text-align:left}
        td,th{padding:5px 12px;border-bottom:1px solid var(--line);vertical-align:middle}
        tr:last-child td{border-bottom:0}
        .n{text-align:right;white-space:nowrap;font-variant-numeric:tabular-nums}
        .name{white-space:nowrap}.step{width:24%}.wide{width:45%}.text{overflow-wrap:anywhere}
        .bar{position:relative;height:14px;background:var(--track);border-radius:3px;overflow:hidden}
        .bar i{position:absolute;top:0;bottom:0;min-width:2px;border-radius:2px;background:var(--guest)}
        .bar i.vmm{background:var(--vmm)}.bar i.gap{background:var(--gap)}
        .key{display:inline-block;width:11px;height:11px;border-radius:2px;margin:0 5px 0 14px;vertical-align:-1px}
        details{margin-top:36px}summary{cursor:pointer;font-size:17px;font-weight:600}
        .log{font:12.5px/1.5 ui-monospace,monospace}.log td{padding:1px 10px;border:0}
        .log tr.slow td{background:color-mix(in srgb,var(--gap) 18%,transparent)}
        footer{margin-top:40px;color:var(--dim);font-size:13px}
        @media(max-width:640px){.wide,.hide{display:none}}

        """;

    public static string Format(BootTimeline timeline)
    {
        var page = new StringBuilder();
        page.Append("<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n")
            .Append("<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\n")
            .Append("<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n")
            .Append(Culture, $"<title>Boot of {Html.Escape(timeline.Kernel)}</title>\n<style>\n{Style}</style>\n</head>\n<body>\n<main>\n")
            .Append(Culture, $"<h1>Boot of {Html.Escape(timeline.Kernel)}</h1>\n")
            .Append(Culture, $"<p>{Html.Escape(timeline.Host)}; {Html.Escape(timeline.Ending)}.</p>\n");
        Cards(page, timeline);
        Steps(page, "Before the first instruction: vmm", timeline.Steps.Where(step => !step.IsGuest), 0, timeline.FirstEntry, []);
        Steps(
            page, "From the first instruction: the guest", timeline.Steps.Where(step => step.IsGuest), timeline.FirstEntry,
            timeline.Total, timeline.Gaps);
        Gaps(page, timeline);
        Slowest(page, timeline);
        Log(page, timeline);
        return page.Append("<footer>Written by vmm boot-timeline. Host times count from the start of vmm.</footer>\n")
            .Append("</main>\n</body>\n</html>\n").ToString();
    }

    private static void Cards(StringBuilder page, BootTimeline timeline)
    {
        page.Append("<div class=\"cards\">\n");
        Card(Duration.Format(timeline.FirstEntry), "to the first instruction");
        if (timeline.Find(Milestones.Init) is { } init)
        {
            Card(Duration.Format(init.End), "to init");
        }

        Card(Duration.Format(timeline.Total), "in all");
        Card(timeline.Exits.ToString("N0", Culture), $"exits, {timeline.ConsoleExits.ToString("N0", Culture)} for the console");
        Card(Duration.Format(timeline.InVmm), "in vmm while the guest ran");
        page.Append("</div>\n");

        void Card(string value, string label) =>
            page.Append(Culture, $"<div class=\"card\"><b>{Html.Escape(value)}</b><span>{Html.Escape(label)}</span></div>\n");
    }

    private static void Steps(
        StringBuilder page, string title, IEnumerable<TimelineStep> steps, long from, long to, IReadOnlyList<TimelineGap> gaps)
    {
        page.Append(Culture, $"<h2>{Html.Escape(title)}</h2>\n");
        TimelineStep[] rows = [.. steps];
        bool hasClock = rows.Any(row => row.Guest is not null);
        page.Append("<table>\n<tr><th class=\"step\">reached</th><th class=\"n\">at</th><th class=\"n\">took</th>")
            .Append(hasClock ? "<th class=\"n hide\">guest's clock</th>" : "").Append("<th class=\"wide\">");
        if (gaps.Count > 0)
        {
            page.Append("<span class=\"key\" style=\"background:var(--gap);margin-left:0\"></span>a long silence");
        }

        page.Append("</th></tr>\n");
        foreach (TimelineStep step in rows)
        {
            page.Append(Culture, $"<tr><td class=\"name\">{Html.Escape(step.Name)}</td>")
                .Append(Culture, $"<td class=\"n\">{Duration.Format(step.End)}</td>")
                .Append(Culture, $"<td class=\"n\">{Duration.Format(step.Length)}</td>")
                .Append(hasClock ? $"<td class=\"n hide\">{Seconds(step.Guest)}</td>" : "")
                .Append("<td class=\"wide\"><div class=\"bar\">");
            Bar(page, step.IsGuest ? "guest" : "vmm", step.Start, step.End, from, to);
            foreach (TimelineGap gap in gaps.Where(gap => gap.Start < step.End && gap.End > step.Start))
            {
                Bar(page, "gap", Math.Max(gap.Start, step.Start), Math.Min(gap.End, step.End), from, to);
            }

            page.Append("</div></td></tr>\n");
        }

        page.Append("</table>\n");
    }

    private static void Bar(StringBuilder page, string kind, long start, long end, long from, long to)
    {
        double whole = Math.Max(to - from, 1);
        double left = Math.Clamp(100 * (start - from) / whole, 0, 100);
        double width = Math.Clamp(100 * (end - start) / whole, 0, 100 - left);
        page.Append(Culture, $"<i class=\"{kind}\" style=\"left:min({left:0.###}%,100% - 2px);width:{width:0.###}%\"></i>");
    }

    private static void Gaps(StringBuilder page, BootTimeline timeline)
    {
        if (timeline.Gaps.Count == 0)
        {
            return;
        }

        page.Append("<h2>Long silences</h2>\n<table>\n<tr><th class=\"n\">lasted</th><th class=\"n\">from</th>")
            .Append("<th>after</th><th>until</th></tr>\n");
        foreach (TimelineGap gap in timeline.Gaps.Take(MostGaps))
        {
            page.Append(Culture, $"<tr><td class=\"n\">{Duration.Format(gap.End - gap.Start)}</td>")
                .Append(Culture, $"<td class=\"n\">{Duration.Format(gap.Start)}</td>")
                .Append(Culture, $"<td class=\"text\">{Html.Escape(gap.Before)}</td>")
                .Append(Culture, $"<td class=\"text\">{Html.Escape(gap.After)}</td></tr>\n");
        }

        page.Append("</table>\n");
    }

    private static void Slowest(StringBuilder page, BootTimeline timeline)
    {
        if (timeline.Lines.Count < SlowestLines)
        {
            return;
        }

        var lines = timeline.Lines.Zip(timeline.Lines.Skip(1), (before, line) => (line, took: line.Time - before.Time))
            .OrderByDescending(pair => pair.took).Take(SlowestLines).ToArray();
        long longest = Math.Max(lines[0].took, 1);
        page.Append("<h2>Lines of the log that took longest to come</h2>\n<table>\n")
            .Append("<tr><th class=\"n\">took</th><th class=\"hide\" style=\"width:20%\"></th><th>line</th></tr>\n");
        foreach ((KernelLine line, long took) in lines)
        {
            page.Append(Culture, $"<tr><td class=\"n\">{Duration.Format(took)}</td><td class=\"hide\"><div class=\"bar\">");
            Bar(page, "guest", 0, took, 0, longest);
            page.Append(Culture, $"</div></td><td class=\"text\">{Html.Escape(line.Text)}</td></tr>\n");
        }

        page.Append("</table>\n");
    }

    private static void Log(StringBuilder page, BootTimeline timeline)
    {
        page.Append(Culture, $"<details>\n<summary>The whole log: {timeline.Lines.Count:N0} lines");
        if (timeline.DroppedLines > 0)
        {
            page.Append(Culture, $" ({timeline.DroppedLines:N0} more were not kept)");
        }

        page.Append("</summary>\n<table class=\"log\">\n<tr><th class=\"n\">host</th><th class=\"n\">guest</th><th></th></tr>\n");
        var slow = timeline.Gaps.Select(gap => gap.End).ToHashSet();
        foreach (KernelLine line in timeline.Lines)
        {
            page.Append(slow.Contains(line.Time) ? "<tr class=\"slow\">" : "<tr>")
                .Append(Culture, $"<td class=\"n\">{line.Time / 1e9:0.000}</td><td class=\"n\">{line.Guest?.ToString("0.000", Culture)}</td>")
                .Append(Culture, $"<td class=\"text\">{Html.Escape(line.Text)}</td></tr>\n");
        }

        page.Append("</table>\n</details>\n");
    }

    private static string Seconds(double? guest) => guest is double seconds ? seconds.ToString("0.000 s", Culture) : "";
}

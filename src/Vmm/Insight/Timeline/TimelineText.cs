using System.Globalization;
using System.Text;
using Vmm.Text;

namespace Vmm.Insight.Timeline;

/// <summary>A timeline as a bar chart in a terminal.</summary>
internal static class TimelineText
{
    private const string VmmColour = "34", GuestColour = "32", GapColour = "33", Quiet = "2", Strong = "1";
    private const int MostGaps = 8;
    private const int RoomForGuestClock = 80;
    private static readonly CultureInfo Culture = CultureInfo.InvariantCulture;

    public static string Format(BootTimeline timeline, TextStyle style)
    {
        var text = new StringBuilder();
        text.Append(style.Paint($"{timeline.Kernel}", Strong)).Append(Culture, $" on {timeline.Host}\n");
        text.Append(Culture, $"{Duration.Format(timeline.FirstEntry)} to the first instruction");
        if (timeline.Find(Milestones.Init) is { } init)
        {
            text.Append(Culture, $", {Duration.Format(init.End)} to init");
        }

        text.Append(Culture, $", {Duration.Format(timeline.Total)} in all: {timeline.Ending}\n");
        text.Append(Culture, $"{timeline.Exits:N0} exits, {timeline.ConsoleExits:N0} of them for the console; ")
            .Append(Culture, $"{Duration.Format(timeline.InVmm)} in vmm while the guest ran\n");

        Section(text, style, "vmm", timeline.Steps.Where(step => !step.IsGuest), 0, timeline.FirstEntry, VmmColour, []);
        Section(
            text, style, "guest", timeline.Steps.Where(step => step.IsGuest), timeline.FirstEntry, timeline.Total, GuestColour,
            timeline.Gaps);
        Gaps(text, style, timeline);
        if (timeline.DroppedLines > 0)
        {
            text.Append(Culture, $"\n{timeline.DroppedLines:N0} more lines of the console were not kept\n");
        }

        return text.ToString();
    }

    private static void Section(
        StringBuilder text, TextStyle style, string title, IEnumerable<TimelineStep> steps, long from, long to, string colour,
        IReadOnlyList<TimelineGap> gaps)
    {
        TimelineStep[] rows = [.. steps];
        if (rows.Length == 0)
        {
            return;
        }

        int names = rows.Max(row => row.Name.Length);
        string guestTitle = style.Width >= RoomForGuestClock && rows.Any(row => row.Guest is not null) ? "guest's clock" : "";
        int bar = Math.Max(10, style.Width - names - 24 - (guestTitle.Length == 0 ? 0 : guestTitle.Length + 2));
        text.Append('\n').Append(style.Paint(
            $"{title.PadRight(names)}  {"at",9}  {"took",9}  {guestTitle}".TrimEnd(), Quiet)).Append('\n');
        foreach (TimelineStep row in rows)
        {
            bool holdsGap = gaps.Any(gap => gap.Start < row.End && gap.End > row.Start);
            string guest = guestTitle.Length == 0 ? "" : (row.Guest is double seconds
                ? seconds.ToString("0.000 s", Culture) : "").PadLeft(guestTitle.Length) + "  ";
            text.Append(row.Name.PadRight(names)).Append("  ")
                .Append(Duration.Format(row.End).PadLeft(9)).Append("  ")
                .Append(Duration.Format(row.Length).PadLeft(9)).Append("  ")
                .Append(guest)
                .Append(style.Paint(Bar(row.Start - from, row.End - from, to - from, bar), holdsGap ? GapColour : colour))
                .Append('\n');
        }
    }

    /// <summary>Where in the whole a part lies: blanks, then at least one mark.</summary>
    private static string Bar(long start, long end, long whole, int width)
    {
        if (whole <= 0)
        {
            return "";
        }

        int first = (int)Math.Clamp((double)start / whole * width, 0, width - 1);
        int last = (int)Math.Clamp(Math.Ceiling((double)end / whole * width), first + 1, width);
        bool isThin = end - start < whole / (width * 2);
        return new string(' ', first) + (isThin ? "▏" : new string('█', last - first));
    }

    private static void Gaps(StringBuilder text, TextStyle style, BootTimeline timeline)
    {
        if (timeline.Gaps.Count == 0)
        {
            return;
        }

        text.Append('\n').Append(style.Paint("long silences", Quiet)).Append('\n');
        foreach (TimelineGap gap in timeline.Gaps.Take(MostGaps))
        {
            string length = Duration.Format(gap.End - gap.Start).PadLeft(9);
            int room = (style.Width - length.Length - 14) / 2;
            text.Append(style.Paint(length, GapColour))
                .Append("  after ").Append(Cut(gap.Before, room))
                .Append(style.Paint(" -> ", Quiet)).Append(Cut(gap.After, room)).Append('\n');
        }
    }

    private static string Cut(string text, int room) =>
        text.Length <= room ? text : string.Concat(text.AsSpan(0, Math.Max(room - 1, 1)), "…");
}

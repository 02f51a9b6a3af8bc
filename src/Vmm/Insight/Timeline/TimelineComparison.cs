using System.Globalization;
using System.Text;
using Vmm.Text;

namespace Vmm.Insight.Timeline;

/// <summary>Two timelines side by side, step by step.</summary>
internal static class TimelineComparison
{
    private const string Faster = "32", Slower = "31";
    private const double NotableChange = 0.05;
    private static readonly CultureInfo Culture = CultureInfo.InvariantCulture;

    /// <summary>What a step took in each; null where one has no such step.</summary>
    internal sealed record Line(string Name, bool IsGuest, long? First, long? Second)
    {
        /// <summary>Second divided by first; null where one is missing or the first is zero.</summary>
        public double? Ratio => First is > 0 and long first && Second is long second ? (double)second / first : null;
    }

    /// <summary>Steps of both in the order of the first, then those that only the second has.</summary>
    public static IReadOnlyList<Line> Lines(BootTimeline first, BootTimeline second) =>
    [
        .. first.Steps.Select(step => new Line(step.Name, step.IsGuest, step.Length, second.Find(step.Name)?.Length)),
        .. second.Steps.Where(step => first.Find(step.Name) is null)
            .Select(step => new Line(step.Name, step.IsGuest, null, step.Length)),
        new Line("first instruction after", false, first.FirstEntry, second.FirstEntry),
        .. first.Find(Milestones.Init) is { } init
            ? [new Line("init after", true, init.End, second.Find(Milestones.Init)?.End)]
            : Array.Empty<Line>(),
        new Line("all", true, first.Total, second.Total),
    ];

    public static string Format(string firstName, BootTimeline first, string secondName, BootTimeline second, TextStyle style)
    {
        var text = new StringBuilder();
        text.Append(Culture, $"A  {firstName}: {first.Kernel} on {first.Host}, {first.Exits:N0} exits\n");
        text.Append(Culture, $"B  {secondName}: {second.Kernel} on {second.Host}, {second.Exits:N0} exits\n\n");
        var table = new TextTable("<step", "<by", "A took", "B took", "B - A", "B / A");
        IReadOnlyList<Line> lines = Lines(first, second);
        foreach (Line line in lines)
        {
            table.Add(
                line.Name, line.IsGuest ? "guest" : "vmm", Time(line.First), Time(line.Second),
                line.First is long a && line.Second is long b ? (b >= a ? "+" : "") + Duration.Format(b - a) : "",
                line.Ratio?.ToString("0.00", Culture) ?? "");
        }

        var plain = new StringBuilder();
        table.WriteTo(plain);
        string[] rows = plain.ToString().Split('\n');
        text.Append(rows[0]).Append('\n');
        for (int i = 0; i < lines.Count; i++)
        {
            string colour = lines[i].Ratio is double ratio && Math.Abs(ratio - 1) > NotableChange ? (ratio < 1 ? Faster : Slower) : "";
            text.Append(colour.Length == 0 ? rows[i + 1] : style.Paint(rows[i + 1], colour)).Append('\n');
        }

        return text.ToString();
    }

    private static string Time(long? nanoseconds) => nanoseconds is long time ? Duration.Format(time) : "-";
}

namespace Vmm.Insight.Timeline;

/// <summary>One step of a boot. Times are nanoseconds since vmm was started.</summary>
/// <param name="IsGuest">Taken by the guest; else by vmm.</param>
/// <param name="Name">What is reached at its end.</param>
/// <param name="Guest">The guest's own clock at the end, in seconds; null where it did not say.</param>
internal sealed record TimelineStep(bool IsGuest, string Name, long Start, long End, double? Guest)
{
    public long Length => End - Start;
}

/// <summary>A long time without output on the console.</summary>
/// <param name="Before">The line before it.</param>
/// <param name="After">The line after it.</param>
internal sealed record TimelineGap(long Start, long End, string Before, string After);

/// <summary>What happened when, from the start of vmm to the end of the machine.</summary>
internal sealed record BootTimeline
{
    private const double GapPart = 0.04;
    private const long ShortestGap = 5_000_000;

    public required string Kernel { get; init; }

    public required string Host { get; init; }

    /// <summary>How it ended, for people.</summary>
    public required string Ending { get; init; }

    /// <summary>When the first vCPU entered the guest.</summary>
    public required long FirstEntry { get; init; }

    public required long Total { get; init; }

    public required IReadOnlyList<TimelineStep> Steps { get; init; }

    public IReadOnlyList<KernelLine> Lines { get; init; } = [];

    public IReadOnlyList<TimelineGap> Gaps { get; init; } = [];

    /// <summary>Lines that were counted but not kept.</summary>
    public long DroppedLines { get; init; }

    public long Exits { get; init; }

    /// <summary>Exits for the serial console, which is slow where exits are.</summary>
    public long ConsoleExits { get; init; }

    /// <summary>Nanoseconds in user space while the guest ran, all vCPUs together.</summary>
    public long InVmm { get; init; }

    public TimelineStep? Find(string name) => Steps.FirstOrDefault(step => step.Name == name);

    /// <summary>vmm's own steps.</summary>
    /// <param name="phases">Names and ends, in order.</param>
    public static IEnumerable<TimelineStep> StepsOfVmm(IEnumerable<(string Name, long End)> phases)
    {
        long start = 0;
        foreach ((string name, long end) in phases)
        {
            yield return new TimelineStep(false, name, start, end, null);
            start = end;
        }
    }

    /// <summary>The guest's steps, each from the end of the one before.</summary>
    /// <param name="firstExit">When the first exit to vmm came; null if none did.</param>
    /// <param name="firstByte">When the first byte came on the console; null if none did.</param>
    /// <param name="prompt">When a shell's prompt came.</param>
    /// <param name="others">Further steps, not from the console.</param>
    public static IEnumerable<TimelineStep> StepsOfGuest(
        long firstEntry, long? firstExit, long? firstByte, long? prompt, IReadOnlyList<KernelLine> lines, long total,
        params IEnumerable<(string Name, long Time)> others)
    {
        var marks = new List<(string Name, long Time, double? Guest)>();
        Mark("first exit", firstExit, null);
        Mark("console", firstByte, null);
        var seen = new HashSet<string>(StringComparer.Ordinal);
        foreach (KernelLine line in lines)
        {
            if (Milestones.Of(line.Text) is { } name && seen.Add(name))
            {
                Mark(name, line.Time, line.Guest);
            }
        }

        Mark(Milestones.Shell, prompt, null);
        foreach ((string name, long time) in others)
        {
            Mark(name, time, null);
        }

        Mark("end", total, null);
        long start = firstEntry;
        foreach ((string name, long time, double? guest) in marks.OrderBy(mark => mark.Time))
        {
            yield return new TimelineStep(true, name, start, Math.Max(time, start), guest);
            start = Math.Max(time, start);
        }

        void Mark(string name, long? time, double? guest)
        {
            if (time is long known)
            {
                marks.Add((name, known, guest));
            }
        }
    }

    /// <summary>Times of at least a twenty-fifth of the guest's, and 5 ms, between one line of the console and the next; the
    /// longest first.</summary>
    public static IReadOnlyList<TimelineGap> FindGaps(long firstEntry, IReadOnlyList<KernelLine> lines, long total)
    {
        long least = Math.Max((long)((total - firstEntry) * GapPart), ShortestGap);
        var gaps = new List<TimelineGap>();
        long last = firstEntry;
        string before = "first instruction";
        foreach ((long time, string text) in lines.Select(line => (line.Time, line.Text)).Append((total, "end")))
        {
            if (time - last >= least)
            {
                gaps.Add(new TimelineGap(last, time, before, text));
            }

            (last, before) = (time, text);
        }

        return [.. gaps.OrderByDescending(gap => gap.End - gap.Start)];
    }
}

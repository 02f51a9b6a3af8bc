using Vmm.Insight.Trace;

namespace Vmm.Insight.Timeline;

/// <summary>A timeline as tracks of a trace: the steps, and the guest's log.</summary>
internal static class TimelineTrace
{
    /// <param name="origin">The Stopwatch timestamp from which the timeline's times count.</param>
    /// <param name="track">The first free track.</param>
    public static void Write(BootTimeline timeline, TraceFormat format, long origin, int track)
    {
        format.Track(track, "boot");
        foreach (TimelineStep step in timeline.Steps)
        {
            format.Span(track, step.Name, step.IsGuest ? "guest" : "vmm", origin + step.Start, step.Length);
        }

        format.Track(track + 1, "kernel log");
        foreach (KernelLine line in timeline.Lines)
        {
            format.Instant(track + 1, line.Text, "log", origin + line.Time);
        }
    }
}

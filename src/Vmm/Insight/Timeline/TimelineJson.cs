using System.Text.Json;
using Vmm.Boot;
using Vmm.Host;

namespace Vmm.Insight.Timeline;

/// <summary>A timeline for programs, and for comparing it with another later. Names are never changed, only added; times
/// are nanoseconds since vmm was started, the guest's own in seconds.</summary>
internal static class TimelineJson
{
    public static void Write(Stream file, BootTimeline timeline)
    {
        using var json = new Utf8JsonWriter(file, new JsonWriterOptions { Indented = true });
        json.WriteStartObject();
        json.WriteString("kernel", timeline.Kernel);
        json.WriteString("host", timeline.Host);
        json.WriteString("ending", timeline.Ending);
        json.WriteNumber("firstEntryNs", timeline.FirstEntry);
        json.WriteNumber("totalNs", timeline.Total);
        json.WriteNumber("exits", timeline.Exits);
        json.WriteNumber("consoleExits", timeline.ConsoleExits);
        json.WriteNumber("inVmmNs", timeline.InVmm);
        json.WriteNumber("droppedLines", timeline.DroppedLines);
        json.WriteStartArray("steps");
        foreach (TimelineStep step in timeline.Steps)
        {
            json.WriteStartObject();
            json.WriteString("by", step.IsGuest ? "guest" : "vmm");
            json.WriteString("name", step.Name);
            json.WriteNumber("startNs", step.Start);
            json.WriteNumber("endNs", step.End);
            Guest(json, step.Guest);
            json.WriteEndObject();
        }

        json.WriteEndArray();
        json.WriteStartArray("gaps");
        foreach (TimelineGap gap in timeline.Gaps)
        {
            json.WriteStartObject();
            json.WriteNumber("startNs", gap.Start);
            json.WriteNumber("endNs", gap.End);
            json.WriteString("before", gap.Before);
            json.WriteString("after", gap.After);
            json.WriteEndObject();
        }

        json.WriteEndArray();
        json.WriteStartArray("lines");
        foreach (KernelLine line in timeline.Lines)
        {
            json.WriteStartObject();
            json.WriteNumber("ns", line.Time);
            Guest(json, line.Guest);
            json.WriteString("text", line.Text);
            json.WriteEndObject();
        }

        json.WriteEndArray();
        json.WriteEndObject();
        json.Flush();
    }

    /// <exception cref="UsageException">The file is not there, or was not written by --json.</exception>
    public static BootTimeline Read(string path)
    {
        try
        {
            using var document = JsonDocument.Parse(File.ReadAllBytes(path));
            return Read(document.RootElement);
        }
        catch (Exception error) when (error is IOException or UnauthorizedAccessException)
        {
            string line = $"--compare {path}: {FileErrors.Describe(error)}{FileErrors.Remedy(error.HResult)}";
            throw FileErrors.IsHostsFault(error) ? new HostException(line) : new UsageException(line);
        }
        catch (Exception error) when (
            error is JsonException or KeyNotFoundException or InvalidOperationException or FormatException)
        {
            throw new UsageException($"--compare {path}: is no timeline: give a file that 'vmm boot-timeline --json' wrote");
        }
    }

    private static BootTimeline Read(JsonElement root) => new()
    {
        Kernel = Text(root, "kernel"),
        Host = Text(root, "host"),
        Ending = Text(root, "ending"),
        FirstEntry = root.GetProperty("firstEntryNs").GetInt64(),
        Total = root.GetProperty("totalNs").GetInt64(),
        Exits = root.GetProperty("exits").GetInt64(),
        ConsoleExits = root.GetProperty("consoleExits").GetInt64(),
        InVmm = root.GetProperty("inVmmNs").GetInt64(),
        DroppedLines = root.GetProperty("droppedLines").GetInt64(),
        Steps =
        [
            .. root.GetProperty("steps").EnumerateArray().Select(step => new TimelineStep(
                Text(step, "by") == "guest", Text(step, "name"), step.GetProperty("startNs").GetInt64(),
                step.GetProperty("endNs").GetInt64(), Guest(step))),
        ],
        Gaps =
        [
            .. root.GetProperty("gaps").EnumerateArray().Select(gap => new TimelineGap(
                gap.GetProperty("startNs").GetInt64(), gap.GetProperty("endNs").GetInt64(), Text(gap, "before"),
                Text(gap, "after"))),
        ],
        Lines =
        [
            .. root.GetProperty("lines").EnumerateArray().Select(line => new KernelLine(
                line.GetProperty("ns").GetInt64(), Guest(line), Text(line, "text"))),
        ],
    };

    private static string Text(JsonElement element, string name) => element.GetProperty(name).GetString() ?? "";

    private static double? Guest(JsonElement element) =>
        element.TryGetProperty("guest", out JsonElement guest) ? guest.GetDouble() : null;

    private static void Guest(Utf8JsonWriter json, double? guest)
    {
        if (guest is double seconds)
        {
            json.WriteNumber("guest", seconds);
        }
    }
}

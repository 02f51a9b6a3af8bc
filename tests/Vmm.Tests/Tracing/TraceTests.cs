using System.Diagnostics;
using System.Text.Json;
using Vmm.Host;
using Vmm.Insight.Profile;
using Vmm.Insight.Trace;

namespace Vmm.Tests.Tracing;

public sealed class TraceTests : IDisposable
{
    private readonly string _path = Path.GetTempFileName();

    public void Dispose() => File.Delete(_path);

    [Fact]
    public void All_events_are_in_a_whole_file_in_microseconds()
    {
        const int Events = TraceTrack.Capacity / 2;
        long origin = Stopwatch.GetTimestamp();
        var row = new ExitRow(new ExitName("IO", "COM1", "a \"quoted\" <name>\n", "write 1"));
        using (var writer = new TraceWriter(_path, origin))
        {
            TraceTrack first = writer.AddTrack("vCPU 0");
            TraceTrack second = writer.AddTrack("devices");
            for (int i = 0; i < Events; i++)
            {
                first.Add(origin + (i * 10_000), 7_001, 500, row);
            }

            second.Add(origin + 1, 0, 9, null, "virtio-blk0");
            writer.Finish((format, track) => format.Instant(track, "line <1>", "log", origin + 5_000));
            Assert.Equal(0, writer.Dropped);
        }

        using var document = JsonDocument.Parse(File.ReadAllBytes(_path));
        JsonElement[] events = [.. document.RootElement.GetProperty("traceEvents").EnumerateArray()];
        Assert.Equal((2 * Events) + 1, events.Count(e => Text(e, "ph") == "X"));
        JsonElement exit = events.First(e => Text(e, "cat") == "IO");
        Assert.Equal("COM1 a \"quoted\" <name>\n write 1", Text(exit, "name"));
        Assert.Equal((7.001m, 0.5m), (exit.GetProperty("ts").GetDecimal(), exit.GetProperty("dur").GetDecimal()));
        Assert.Equal(
            ["vmm", "vCPU 0", "devices"],
            events.Where(e => Text(e, "name") is "process_name" or "thread_name").Select(e => e.GetProperty("args").GetProperty("name").GetString()));
        Assert.Contains(events, e => Text(e, "ph") == "i" && e.GetProperty("tid").GetInt32() == 3);
        Assert.Equal(0, document.RootElement.GetProperty("otherData").GetProperty("dropped").GetInt64());
    }

    [Fact]
    public void A_ring_that_nobody_reads_drops_and_counts()
    {
        var track = new TraceTrack(1, "vCPU 0", () => { });
        for (int i = 0; i < TraceTrack.Capacity + 5; i++)
        {
            track.Add(i, 0, 1, null, "x");
        }

        Assert.Equal(5, track.Dropped);
        Assert.True(track.TryTake(out TraceEvent oldest));
        Assert.Equal(0, oldest.Start);
        track.Add(99, 0, 1, null, "x");
        Assert.Equal(5, track.Dropped);
    }

    [Fact]
    public void A_busy_thread_and_the_writer_lose_nothing_that_is_not_counted()
    {
        const int Events = TraceTrack.Capacity * 8;
        long dropped;
        using (var writer = new TraceWriter(_path, 0))
        {
            TraceTrack track = writer.AddTrack("vCPU 0");
            var thread = new Thread(() =>
            {
                for (int i = 0; i < Events; i++)
                {
                    track.Add(i, 0, 1, null, "x");
                }
            });
            thread.Start();
            thread.Join();
            writer.Finish();
            dropped = writer.Dropped;
        }

        using var document = JsonDocument.Parse(File.ReadAllBytes(_path));
        long written = document.RootElement.GetProperty("traceEvents").EnumerateArray().Count(e => Text(e, "ph") == "X");
        Assert.Equal(Events, written + dropped);
        Assert.Equal(dropped, document.RootElement.GetProperty("otherData").GetProperty("dropped").GetInt64());
    }

    [Fact]
    public void A_path_that_cannot_be_written_is_a_usage_error() =>
        Assert.Throws<UsageException>(() => new TraceWriter("/", 0));

    private static string? Text(JsonElement element, string name) =>
        element.TryGetProperty(name, out JsonElement value) ? value.GetString() : null;
}

using System.Text.Json;

namespace Vmm.Insight.Trace;

/// <summary>One file of trace events as Chrome and Perfetto read it (the Trace Event Format's JSON object form: complete
/// events <c>X</c>, instants <c>i</c>, metadata <c>M</c>; times are microseconds).</summary>
internal sealed class TraceFormat : IDisposable
{
    private const int FlushAbove = 64 * 1024;

    private static readonly JsonEncodedText Guest = JsonEncodedText.Encode("KVM_RUN");
    private static readonly JsonEncodedText NameKey = JsonEncodedText.Encode("name");
    private static readonly JsonEncodedText CategoryKey = JsonEncodedText.Encode("cat");
    private static readonly JsonEncodedText PhaseKey = JsonEncodedText.Encode("ph");
    private static readonly JsonEncodedText TimeKey = JsonEncodedText.Encode("ts");
    private static readonly JsonEncodedText DurationKey = JsonEncodedText.Encode("dur");
    private static readonly JsonEncodedText ProcessKey = JsonEncodedText.Encode("pid");
    private static readonly JsonEncodedText ThreadKey = JsonEncodedText.Encode("tid");

    private readonly Utf8JsonWriter _json;
    private readonly long _origin;

    /// <param name="origin">The Stopwatch timestamp that becomes time 0.</param>
    public TraceFormat(Stream file, long origin)
    {
        _json = new Utf8JsonWriter(file);
        _origin = origin;
        _json.WriteStartObject();
        _json.WriteString("displayTimeUnit", "ns");
        _json.WriteStartArray("traceEvents");
        Metadata("process_name", 0, "vmm");
    }

    /// <summary>Names a track; those with lower numbers are shown first.</summary>
    public void Track(int id, string name)
    {
        Metadata("thread_name", id, name);
        _json.WriteStartObject();
        _json.WriteString(NameKey, "thread_sort_index");
        Place("M", id);
        _json.WriteStartObject("args");
        _json.WriteNumber("sort_index", id);
        _json.WriteEndObject();
        _json.WriteEndObject();
    }

    public void Event(int track, in TraceEvent what)
    {
        if (what.InKvm > 0)
        {
            Span(track, Guest, "kvm", what.Start, what.InKvm);
        }

        if (what.Row is { } row)
        {
            Span(track, row.TraceName, row.Name.Reason, what.Start + what.InKvm, what.InVmm);
        }
        else
        {
            Span(track, what.Name ?? "", "vmm", what.Start, what.InVmm);
        }
    }

    public void Span(int track, string name, string category, long start, long duration) =>
        Span(track, JsonEncodedText.Encode(name), category, start, duration);

    /// <summary>A moment, marked across its track.</summary>
    public void Instant(int track, string name, string category, long time)
    {
        _json.WriteStartObject();
        _json.WriteString(NameKey, name);
        _json.WriteString(CategoryKey, category);
        Place("i", track);
        _json.WriteString("s", "t");
        _json.WriteNumber(TimeKey, Microseconds(time - _origin));
        End();
    }

    /// <summary>Writes the end of the file: it is complete then.</summary>
    /// <param name="dropped">Events that were dropped because a ring was full.</param>
    public void Finish(long dropped)
    {
        _json.WriteEndArray();
        _json.WriteStartObject("otherData");
        _json.WriteNumber("dropped", dropped);
        _json.WriteEndObject();
        _json.WriteEndObject();
        _json.Flush();
    }

    /// <summary>Forgets what has not been written yet, so that nothing more will be.</summary>
    public void Discard() => _json.Reset();

    public void Dispose() => _json.Dispose();

    private void Span(int track, JsonEncodedText name, string category, long start, long duration)
    {
        _json.WriteStartObject();
        _json.WriteString(NameKey, name);
        _json.WriteString(CategoryKey, category);
        Place("X", track);
        _json.WriteNumber(TimeKey, Microseconds(start - _origin));
        _json.WriteNumber(DurationKey, Microseconds(duration));
        End();
    }

    private void Metadata(string what, int track, string name)
    {
        _json.WriteStartObject();
        _json.WriteString(NameKey, what);
        Place("M", track);
        _json.WriteStartObject("args");
        _json.WriteString(NameKey, name);
        _json.WriteEndObject();
        _json.WriteEndObject();
    }

    private void Place(string phase, int track)
    {
        _json.WriteString(PhaseKey, phase);
        _json.WriteNumber(ProcessKey, 1);
        _json.WriteNumber(ThreadKey, track);
    }

    private void End()
    {
        _json.WriteEndObject();
        if (_json.BytesPending > FlushAbove)
        {
            _json.Flush();
        }
    }

    private static decimal Microseconds(long nanoseconds) => (decimal)nanoseconds / 1000;
}

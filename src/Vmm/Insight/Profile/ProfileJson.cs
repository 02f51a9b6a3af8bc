using System.Buffers;
using System.Text;
using System.Text.Json;
using Vmm.Assist;

namespace Vmm.Insight.Profile;

/// <summary>A profile for programs: one JSON object. Names are never changed, only added; times are nanoseconds.</summary>
internal static class ProfileJson
{
    public static string Format(ExitProfile profile)
    {
        var buffer = new ArrayBufferWriter<byte>();
        using (var json = new Utf8JsonWriter(buffer, new JsonWriterOptions { Indented = true }))
        {
            json.WriteStartObject();
            WriteProperties(json, profile);
            json.WriteEndObject();
        }

        return Encoding.UTF8.GetString(buffer.WrittenSpan) + "\n";
    }

    /// <summary>Into an object that is open already.</summary>
    public static void WriteProperties(Utf8JsonWriter json, ExitProfile profile)
    {
        json.WriteNumber("vcpus", profile.Vcpus);
        json.WriteNumber("wallNs", profile.Wall.Ticks * 100);
        json.WriteNumber("exits", profile.Exits);
        json.WriteNumber("inVmmNs", profile.InVmm);
        json.WriteNumber("inKvmRunNs", profile.InKvm);
        Groups(json, "reasons", profile.ByReason);
        Groups(json, "devices", profile.ByDevice);
        json.WriteStartArray("lines");
        foreach (ExitRow line in profile.Lines)
        {
            json.WriteStartObject();
            json.WriteString("reason", line.Name.Reason);
            json.WriteString("device", line.Name.Device);
            json.WriteString("register", line.Name.What);
            json.WriteString("access", line.Name.Access);
            json.WriteNumber("exits", line.InVmm.Count);
            Histogram(json, "inVmm", line.InVmm);
            Histogram(json, "inKvmRun", line.InKvm);
            json.WriteEndObject();
        }

        json.WriteEndArray();
        json.WriteStartArray("kvm");
        foreach (KvmComparison line in profile.Comparisons)
        {
            json.WriteStartObject();
            json.WriteString("counter", line.Counter);
            json.WriteNumber("kvm", line.Kvm);
            json.WriteString("what", line.What);
            json.WriteNumber("vmm", line.Vmm);
            json.WriteBoolean("comparable", line.Relation != KvmRelation.Other);
            json.WriteBoolean("agrees", line.Agrees);
            json.WriteEndObject();
        }

        json.WriteEndArray();
    }

    private static void Groups(Utf8JsonWriter json, string name, IEnumerable<ProfileGroup> groups)
    {
        json.WriteStartArray(name);
        foreach (ProfileGroup group in groups)
        {
            json.WriteStartObject();
            json.WriteString("name", group.Name);
            json.WriteNumber("exits", group.Exits);
            json.WriteNumber("inVmmNs", group.InVmm);
            json.WriteNumber("inKvmRunNs", group.InKvm);
            json.WriteEndObject();
        }

        json.WriteEndArray();
    }

    private static void Histogram(Utf8JsonWriter json, string name, LatencyHistogram times)
    {
        json.WriteStartObject(name);
        json.WriteNumber("sumNs", times.Sum);
        json.WriteNumber("minNs", times.Minimum);
        json.WriteNumber("medianNs", times.Quantile(0.5));
        json.WriteNumber("p99Ns", times.Quantile(0.99));
        json.WriteNumber("p999Ns", times.Quantile(0.999));
        json.WriteNumber("maxNs", times.Maximum);
        json.WriteEndObject();
    }
}

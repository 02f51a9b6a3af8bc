using System.Buffers;
using System.Text;
using System.Text.Json;
using Vmm.Boot.Unpack;

namespace Vmm.Boot.Inspect;

/// <summary>A <see cref="KernelReport"/> for programs: one JSON object. Names are never changed, only added; what a
/// file has not is absent. Addresses are strings in hexadecimal, sizes are numbers of bytes.</summary>
public static class ReportJson
{
    /// <summary>Writes it with indentation and a newline at the end.</summary>
    public static string Render(KernelReport report)
    {
        var buffer = new ArrayBufferWriter<byte>();
        using (var json = new Utf8JsonWriter(buffer, new JsonWriterOptions { Indented = true }))
        {
            json.WriteStartObject();
            Write(json, report);
            json.WriteEndObject();
        }

        return Encoding.UTF8.GetString(buffer.WrittenSpan) + "\n";
    }

    private static void Write(Utf8JsonWriter json, KernelReport report)
    {
        json.WriteString("file", report.File);
        json.WriteString("format", Format(report.Kind));
        json.WriteBoolean("multiboot", report.IsMultiboot);
        Text(json, "version", report.Version);
        if (report.BootProtocol is int protocol)
        {
            json.WriteString("bootProtocol", $"{protocol >> 8}.{protocol & 0xff:d2}");
        }

        Text(json, "compression", report.Compression is { } compression ? PackedPayload.Name(compression) : null);
        Text(json, "obstacle", report.Obstacle);
        Text(json, "problem", report.Problem);
        json.WriteStartArray("entries");
        foreach (KernelEntry entry in report.Entries)
        {
            json.WriteStartObject();
            json.WriteString("name", entry.Name);
            json.WriteString("address", $"0x{entry.Address:x}");
            json.WriteEndObject();
        }

        json.WriteEndArray();
        if (report.IsRelocatable is bool isRelocatable)
        {
            json.WriteBoolean("relocatable", isRelocatable);
        }

        Number(json, "relocations", report.Relocations);
        Text(json, "loadAddress", report.LoadAddress is ulong load ? $"0x{load:x}" : null);
        Number(json, "fileSize", report.FileSize);
        Number(json, "setupSize", report.SetupSize);
        Number(json, "payloadSize", report.PayloadSize);
        Number(json, "unpackedSize", report.UnpackedSize);
        Number(json, "memorySize", (long?)report.MemorySize);
        Number(json, "initSize", (long?)report.InitSize);
        Text(json, "configuration", report.ConfigurationSource);
        if (report.ConfigurationSource is not null)
        {
            WriteLacks(json, report);
        }
    }

    private static void WriteLacks(Utf8JsonWriter json, KernelReport report)
    {
        json.WriteStartArray("lacks");
        foreach (ConfigFinding finding in report.Lacks)
        {
            json.WriteStartObject();
            json.WriteString("option", finding.Option);
            json.WriteString("state", finding.IsModule ? "module" : "missing");
            json.WriteBoolean("needed", finding.IsNeeded);
            json.WriteString("consequence", finding.Consequence);
            json.WriteEndObject();
        }

        json.WriteEndArray();
    }

    private static string Format(KernelKind kind) => kind switch
    {
        KernelKind.BzImage => "bzImage",
        KernelKind.Elf64 => "elf64",
        KernelKind.Elf32 => "elf32",
        _ => "flat",
    };

    private static void Text(Utf8JsonWriter json, string name, string? value)
    {
        if (value is not null)
        {
            json.WriteString(name, value);
        }
    }

    private static void Number(Utf8JsonWriter json, string name, long? value)
    {
        if (value is long number)
        {
            json.WriteNumber(name, number);
        }
    }
}

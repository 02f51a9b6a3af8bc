using System.Globalization;
using System.Text;
using Vmm.Boot.Unpack;

namespace Vmm.Boot.Inspect;

/// <summary>A <see cref="KernelReport"/> for people.</summary>
public static class ReportText
{
    /// <summary>Writes it as lines of text, each ending in a newline.</summary>
    public static string Render(KernelReport report)
    {
        var text = new StringBuilder();
        Line(text, "file", report.File);
        Line(text, "format", Format(report));
        Line(text, "version", report.Version);
        if (report.BootProtocol is int protocol)
        {
            Line(text, "boot protocol", string.Create(CultureInfo.InvariantCulture, $"{protocol >> 8}.{protocol & 0xff:d2}"));
        }

        if (report.Compression is { } compression)
        {
            Line(text, "compression", PackedPayload.Name(compression)
                + (report.Obstacle is null ? ", unpacked by vmm" : $", unpacks itself: {report.Obstacle}"));
        }

        Line(text, "problem", report.Problem);
        foreach (KernelEntry entry in report.Entries)
        {
            Line(text, "entry", string.Create(CultureInfo.InvariantCulture, $"0x{entry.Address:x} ({entry.Name})"));
        }

        Line(text, "relocatable", Relocatable(report));
        Line(text, "load address", report.LoadAddress is ulong load ? $"0x{load:x}" : null);
        Size(text, "file size", report.FileSize);
        Size(text, "setup", report.SetupSize);
        Size(text, "payload", report.PayloadSize);
        Size(text, "unpacked", report.UnpackedSize);
        Size(text, "in memory", (long?)report.MemorySize);
        Size(text, "init_size", (long?)report.InitSize);
        Configuration(text, report);
        return text.ToString();
    }

    private static string Format(KernelReport report)
    {
        string kind = report.Kind switch
        {
            KernelKind.BzImage => "bzImage",
            KernelKind.Elf64 => "ELF64 (vmlinux)",
            KernelKind.Elf32 => "ELF32",
            _ => "flat image",
        };
        bool hasPvh = report.Entries.Any(entry => entry.Name == "PVH");
        return kind + (report.IsMultiboot ? ", multiboot" : "") + (hasPvh ? ", PVH" : "");
    }

    private static string? Relocatable(KernelReport report) => (report.IsRelocatable, report.Relocations) switch
    {
        (true, > 0) => string.Create(
            CultureInfo.InvariantCulture, $"yes, with {report.Relocations} relocations: vmm can randomize its addresses"),
        (true, 0) => "yes, but without relocations: its addresses cannot be randomized",
        (true, null) => "yes",
        (false, _) => report.Kind == KernelKind.BzImage ? "no" : "no: an ELF file is loaded where it was linked",
        _ => null,
    };

    private static void Configuration(StringBuilder text, KernelReport report)
    {
        if (report.ConfigurationSource is null)
        {
            Line(text, "configuration", "not in the kernel (CONFIG_IKCONFIG), and not beside it");
            return;
        }

        Line(text, "configuration", report.ConfigurationSource);
        if (report.Lacks.Count == 0)
        {
            Line(text, "lacks", "nothing that vmm could use");
        }

        foreach (ConfigFinding finding in report.Lacks)
        {
            string what = finding.IsModule ? $"{finding.Option} is a module" : $"no {finding.Option}";
            Line(text, finding.IsNeeded ? "lacks" : "could use", $"{what}: {finding.Consequence}");
        }
    }

    private static void Size(StringBuilder text, string name, long? bytes)
    {
        if (bytes is long value)
        {
            (double unit, string unitName) = value < 1 << 20 ? (1 << 10, "KiB") : (1 << 20, "MiB");
            Line(text, name, string.Create(CultureInfo.InvariantCulture, $"{value} bytes ({value / unit:f1} {unitName})"));
        }
    }

    private static void Line(StringBuilder text, string name, string? value)
    {
        if (value is not null)
        {
            text.Append(name.PadRight(15)).Append(value).Append('\n');
        }
    }
}

using System.Text;
using Vmm.Boot.Kaslr;
using Vmm.Boot.Unpack;

namespace Vmm.Boot.Inspect;

/// <summary>Examines a kernel file, without starting it.</summary>
public static class KernelInspector
{
    private const int MostVersionLength = 256;

    /// <summary>Inspects a kernel. A bzImage is unpacked for it, if vmm can.</summary>
    /// <exception cref="BootException">There is no such file, or it is no kernel that vmm knows.</exception>
    public static KernelReport Inspect(string path)
    {
        using KernelImage kernel = KernelImage.Open(path);
        KernelReport report = Inspect(kernel, SystemLibraries.Default);
        return report.ConfigurationSource is null ? WithConfigBeside(report, path) : report;
    }

    internal static KernelReport Inspect(KernelImage kernel, SystemLibraries libraries)
    {
        var report = new KernelReport
        {
            File = kernel.Name,
            FileSize = kernel.Source.Length,
            Kind = kernel.Kind,
            IsMultiboot = kernel.Multiboot is not null,
        };
        if (kernel.Multiboot is not null && (kernel.Multiboot.Flat ?? kernel.Elf) is { } multiboot)
        {
            report = report with { Entries = [new KernelEntry("multiboot", multiboot.Entry)] };
        }

        return kernel switch
        {
            { BzImage: { } image } => InspectBzImage(report, kernel.Source, image, libraries),
            { Elf: { } elf } => InspectFile(report, kernel.Source, elf),
            { Multiboot.Flat: { } flat } => report with
            {
                LoadAddress = flat.Start.Value,
                MemorySize = flat.End - flat.Start,
            },
            _ => report,
        };
    }

    private static KernelReport InspectBzImage(
        KernelReport report, ImageSource source, BzImage image, SystemLibraries libraries)
    {
        ulong load = image.IsRelocatable ? image.PrefAddress : Layout.HighMemory;
        report = report with
        {
            Version = SetupVersion(source, image),
            BootProtocol = image.ProtocolVersion,
            IsRelocatable = image.IsRelocatable,
            SetupSize = image.ProtectedModeOffset,
            PayloadSize = image.HasPayload ? image.PayloadLength : null,
            InitSize = image.InitSize,
            LoadAddress = image.PrefAddress,
            Entries =
            [
                new KernelEntry(image.HasPayload ? "64-bit, unpacks itself" : "64-bit", load + BzImage.Entry64),
            ],
        };
        if (!image.HasPayload)
        {
            return report;      // it has no compressed payload to look into
        }

        if (PackedPayload.TryRead(source, image.PayloadOffset, image.PayloadLength, libraries, out PackedPayload? payload)
            is string wrong)
        {
            return report with { Problem = wrong };
        }

        using (payload)
        {
            report = report with
            {
                Compression = payload!.Compression,
                Obstacle = payload.Obstacle,
                UnpackedSize = payload.Compression == Compression.Unknown ? null : payload.UnpackedSize,
            };
            return payload.Obstacle is null ? InspectPayload(report, payload) : report;
        }
    }

    private static KernelReport InspectPayload(KernelReport report, PackedPayload payload)
    {
        using NativeBuffer unpacked = new((int)payload.UnpackedSize);
        using var source = new MemoryImageSource(report.File, unpacked.Memory);
        string? wrong = payload.Unpack(unpacked.GetSpan());
        ElfImage? elf = null;
        if (wrong is null)
        {
            wrong = ElfImage.Claims(source) ? ElfImage.Parse(source, out elf) : "is no ELF file";
            wrong = wrong is null ? null : "the kernel packed in it " + wrong;
        }

        if (wrong is not null)
        {
            return report with { Problem = wrong };
        }

        string? strange = RelocationTable.Find(unpacked.GetSpan(), out RelocationTable table);
        report = report with
        {
            Problem = strange is null ? null : $"the kernel packed in it {strange}",
            Relocations = strange is null ? table.Count : null,
        };
        return InspectElf(report, elf!, unpacked.GetSpan());
    }

    /// <summary>A vmlinux: only what is loaded of it is read, not its debugging information.</summary>
    private static KernelReport InspectFile(KernelReport report, ImageSource source, ElfImage elf)
    {
        ulong end = 0;
        foreach (ref readonly ElfSegment segment in elf.Segments)
        {
            // The offset of a segment without bytes (.bss) may lie anywhere.
            end = segment.FileSize == 0 ? end : Math.Max(end, (ulong)segment.FileOffset + segment.FileSize);
        }

        end = Math.Min(end, PackedPayload.MostUnpackedSize);
        using NativeBuffer bytes = new((int)end);
        Prefault.Populate(bytes.GetSpan());
        return source.TryRead(0, bytes.GetSpan())
            ? InspectElf(report with { IsRelocatable = false }, elf, bytes.GetSpan())
            : throw new BootException($"kernel {source.Name}: became shorter while it was read");
    }

    private static KernelReport InspectElf(KernelReport report, ElfImage elf, ReadOnlySpan<byte> bytes)
    {
        var entries = new List<KernelEntry>(report.Entries);
        if (elf.Is64Bit && (elf.Notes.IsLinux || report.Kind == KernelKind.BzImage))
        {
            entries.Add(new KernelEntry("64-bit", elf.Entry));
        }
        else if (!report.IsMultiboot)
        {
            entries.Add(new KernelEntry("ELF", elf.Entry));
        }

        if (elf.Notes.PvhEntry is uint pvh)
        {
            entries.Add(new KernelEntry("PVH", pvh));
        }

        KernelConfig? config = KernelConfig.Find(bytes);
        return report with
        {
            Version = report.Version ?? Banner(bytes),
            Entries = entries,
            LoadAddress = elf.Start.Value,
            MemorySize = elf.End - elf.Start,
            ConfigurationSource = config is null ? null : "in the kernel",
            Lacks = config is null ? [] : ConfigNeeds.Check(config),
        };
    }

    private static KernelReport WithConfigBeside(KernelReport report, string path) =>
        KernelConfig.PathBeside(path) is { } beside && KernelConfig.Read(beside) is { } config
            ? report with { ConfigurationSource = beside, Lacks = ConfigNeeds.Check(config) }
            : report;

    /// <summary>boot.rst, "kernel_version": where the string is, less 0x200.</summary>
    private static string? SetupVersion(ImageSource source, BzImage image)
    {
        long offset = image.Header.kernel_version + 0x200L;
        Span<byte> bytes = stackalloc byte[MostVersionLength];
        int length = (int)Math.Min(bytes.Length, image.ProtectedModeOffset - offset);
        return image.Header.kernel_version != 0 && length > 0 && source.TryRead(offset, bytes[..length])
            ? Text(bytes[..length])
            : null;
    }

    /// <summary>linux_banner of init/version.c; it begins with the release.</summary>
    private static string? Banner(ReadOnlySpan<byte> bytes)
    {
        ReadOnlySpan<byte> prefix = "Linux version "u8;
        while (bytes.IndexOf(prefix) is var start and >= 0)
        {
            bytes = bytes[(start + prefix.Length)..];

            // Not the format string "%s (%s)" that stands beside it.
            if (bytes is [>= (byte)'0' and <= (byte)'9', ..])
            {
                return Text(bytes[..Math.Min(bytes.Length, MostVersionLength)]);
            }
        }

        return null;
    }

    /// <summary>What is before the first byte that is not printable ASCII: it goes to a terminal.</summary>
    private static string? Text(ReadOnlySpan<byte> bytes)
    {
        int length = bytes.IndexOfAnyExceptInRange((byte)' ', (byte)'~');
        bytes = length < 0 ? bytes : bytes[..length];
        return bytes.IsEmpty ? null : Encoding.ASCII.GetString(bytes);
    }
}

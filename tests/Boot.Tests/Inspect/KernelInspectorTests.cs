using System.Text;
using System.Text.Json;
using Vmm.Boot.Inspect;
using Vmm.Boot.Tests.Unpack;
using Vmm.Boot.Unpack;

namespace Vmm.Boot.Tests.Inspect;

public sealed class KernelInspectorTests
{
    private const string Good = """
        # Linux/x86 6.1 Kernel Configuration
        CONFIG_PCI=y
        CONFIG_PCI_MSI=y
        CONFIG_VIRTIO_PCI=y
        CONFIG_VIRTIO_BLK=y
        CONFIG_VIRTIO_NET=y
        CONFIG_VIRTIO_MMIO=y
        CONFIG_HW_RANDOM_VIRTIO=y
        CONFIG_EXT4_FS=y
        CONFIG_SERIAL_8250_CONSOLE=y
        CONFIG_BINFMT_ELF=y
        CONFIG_BLK_DEV_INITRD=y
        CONFIG_DEVTMPFS=y
        CONFIG_DEVTMPFS_MOUNT=y
        CONFIG_ACPI=y
        CONFIG_KVM_GUEST=y
        CONFIG_SMP=y
        CONFIG_RANDOMIZE_BASE=y
        CONFIG_PVH=y
        CONFIG_VIRTIO_VSOCKETS=y
        CONFIG_VIRTIO_FS=y
        CONFIG_OVERLAY_FS=y
        CONFIG_SQUASHFS=y
        """;

    [Fact]
    public void A_bzImage_is_described_with_its_payload()
    {
        byte[] vmlinux = Vmlinux(Good);
        byte[] payload = Packed.Gzip([.. vmlinux, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0x81]);
        byte[] file = Packed.BzImage(payload).With(0x20e, (ushort)0x100); // kernel_version: at 0x300
        Encoding.ASCII.GetBytes("6.1.0 (me@here) #1\0").CopyTo(file, 0x300);
        KernelReport report = Inspect(file);

        Assert.Equal((KernelKind.BzImage, "6.1.0 (me@here) #1", 0x20f), (report.Kind, report.Version, report.BootProtocol));
        Assert.Equal((Compression.Gzip, null, null), (report.Compression, report.Obstacle, report.Problem));
        Assert.Equal((true, 1), (report.IsRelocatable, report.Relocations));
        Assert.Equal(
            [new KernelEntry("64-bit, unpacks itself", 0x100_0200), new("64-bit", 0x100_0010), new("PVH", 0x100_0600)], report.Entries);
        Assert.Equal(
            (file.Length, 0xc00, payload.Length, vmlinux.Length + 16),
            (report.FileSize, report.SetupSize, report.PayloadSize, report.UnpackedSize));
        Assert.Equal((0x20_0000UL, 0x20_3000UL, 0x100_0000UL), (report.InitSize, report.MemorySize, report.LoadAddress));
        Assert.Equal("in the kernel", report.ConfigurationSource);
        Assert.Empty(report.Lacks);

        string text = ReportText.Render(report);
        foreach (string line in new[]
            {
                "format         bzImage, PVH", "version        6.1.0 (me@here) #1", "boot protocol  2.15",
                "compression    gzip, unpacked by vmm", "entry          0x1000600 (PVH)", "setup          3072 bytes (3.0 KiB)",
                "relocatable    yes, with 1 relocations: vmm can randomize its addresses", "in memory      2109440 bytes (2.0 MiB)",
                "lacks          nothing that vmm could use",
            })
        {
            Assert.Contains(line + "\n", text, StringComparison.Ordinal);
        }
    }

    [Fact]
    public void Missing_options_are_reported_with_consequence_and_modules_separately()
    {
        string config = Good.Replace("CONFIG_VIRTIO_BLK=y", "CONFIG_VIRTIO_BLK=m", StringComparison.Ordinal)
            .Replace("CONFIG_BLK_DEV_INITRD=y", "# CONFIG_BLK_DEV_INITRD is not set", StringComparison.Ordinal)
            .Replace("CONFIG_VIRTIO_NET=y", "CONFIG_VIRTIO_NETWORK=y", StringComparison.Ordinal);
        KernelReport report = Inspect(Vmlinux(config));
        Assert.Equal(
            [
                new ConfigFinding("CONFIG_VIRTIO_BLK", true, true, "it must be in your initramfs, or the disk will not appear"),
                new("CONFIG_BLK_DEV_INITRD", false, true, "an initramfs (--initrd) is ignored"),
                new("CONFIG_VIRTIO_NET", false, false, "the network will not appear"),
            ],
            report.Lacks);
        string text = ReportText.Render(report);
        Assert.Contains(
            "lacks          CONFIG_VIRTIO_BLK is a module: it must be in your initramfs, or the disk will not appear\n", text, StringComparison.Ordinal);
        Assert.Contains("lacks          no CONFIG_BLK_DEV_INITRD: ", text, StringComparison.Ordinal);
        Assert.Contains("could use      no CONFIG_VIRTIO_NET: the network will not appear\n", text, StringComparison.Ordinal);

        string noPci = Good.Replace("CONFIG_PCI=y\n", "", StringComparison.Ordinal).Replace("CONFIG_VIRTIO_PCI=y\n", "", StringComparison.Ordinal);
        Assert.Equal(["CONFIG_PCI"], Inspect(Vmlinux(noPci)).Lacks.Select(finding => finding.Option));
    }

    [Fact]
    public void A_vmlinux_is_described_with_its_banner_and_without_fields_of_a_bzImage()
    {
        KernelReport report = Inspect(Vmlinux(Good, "Linux version %s (%s)\0Linux version 6.1.9 (a@b)\u001b[31m"));
        Assert.Equal((KernelKind.Elf64, "6.1.9 (a@b)"), (report.Kind, report.Version));
        Assert.Equal([new KernelEntry("64-bit", 0x100_0010), new("PVH", 0x100_0600)], report.Entries);
        Assert.Null(report.InitSize);
        Assert.DoesNotContain("payload", ReportText.Render(report), StringComparison.Ordinal);
        Assert.DoesNotContain("payload", ReportJson.Render(report), StringComparison.Ordinal);
    }

    [Fact]
    public void Other_kernels_are_described_too()
    {
        KernelReport elf32 = Inspect(MadeUp.Elf32(0x10_0000, new MadeUp.Part(0x10_0000, 4, 4)));
        Assert.Equal(KernelKind.Elf32, elf32.Kind);
        Assert.Equal([new KernelEntry("ELF", 0x10_0000)], elf32.Entries);
        Assert.Contains("format         ELF32\n", ReportText.Render(elf32), StringComparison.Ordinal);

        KernelReport flat = Inspect(MultibootTests.Flat(0x10_0020, 0x10_0000, 0, 0, 0x10_0000));
        Assert.Equal((KernelKind.Flat, true), (flat.Kind, flat.IsMultiboot));
        Assert.Equal([new KernelEntry("multiboot", 0x10_0000)], flat.Entries);
        Assert.Contains("format         flat image, multiboot\n", ReportText.Render(flat), StringComparison.Ordinal);
    }

    [Fact]
    public void A_kernel_that_would_not_boot_is_reported_as_a_problem()
    {
        byte[] stream = Packed.Streams["Gzip"];
        Assert.Contains("is damaged", Inspect(Packed.BzImage(stream.With(stream.Length - 8, (byte)(stream[^8] ^ 0x55)))).Problem, StringComparison.Ordinal);
        Assert.Contains("declares", Inspect(Packed.BzImage(stream.With(stream.Length - 4, 7))).Problem, StringComparison.Ordinal);
        Assert.Equal("the kernel packed in it is no ELF file", Inspect(Packed.BzImage(stream)).Problem);
        Assert.Contains(
            "unknown form", Inspect(Packed.BzImage(Packed.Gzip([.. Vmlinux(Good), 1, 2, 3]))).Problem, StringComparison.Ordinal);

        using KernelImage kernel = MadeUp.Open(Packed.BzImage(Packed.WithSize(Packed.Streams["Zstd"], 424)));
        KernelReport report = KernelInspector.Inspect(kernel, new PackedPayloadTests.NoLibraries());
        Assert.Equal("this system has no libzstd.so.1", report.Obstacle);
        Assert.Contains(
            "compression    zstd, unpacks itself: this system has no libzstd.so.1\n", ReportText.Render(report), StringComparison.Ordinal);
        Assert.Throws<BootException>(() => Inspect([1, 2, 3]));
    }

    [Fact]
    public void A_configuration_beside_the_kernel_is_used_if_it_holds_none()
    {
        using var files = new TemporaryFiles();
        string kernel = Path.Combine(files.Directory, "vmlinuz-6.1.0-56-amd64");
        File.WriteAllBytes(kernel, Packed.BzImage(Packed.Gzip(MadeUp.Vmlinux())));
        KernelReport without = KernelInspector.Inspect(kernel);
        Assert.Null(without.ConfigurationSource);
        Assert.Contains("not in the kernel (CONFIG_IKCONFIG), and not beside it\n", ReportText.Render(without), StringComparison.Ordinal);

        string config = Path.Combine(files.Directory, "config-6.1.0-56-amd64");
        File.WriteAllText(config, Good.Replace("CONFIG_SMP=y", "", StringComparison.Ordinal));
        KernelReport report = KernelInspector.Inspect(kernel);
        Assert.Equal(config, report.ConfigurationSource);
        Assert.Equal(["CONFIG_SMP"], report.Lacks.Select(finding => finding.Option));
    }

    [Theory]
    [InlineData("/src/arch/x86/boot/bzImage", "/src/.config")]
    [InlineData("/src/arch/x86_64/boot/bzImage", "/src/.config")]
    [InlineData("/src/vmlinux", "/src/.config")]
    [InlineData("/boot/vmlinuz-6.1", "/boot/config-6.1")]
    [InlineData("/boot/vmlinux-6.1", "/boot/config-6.1")]
    [InlineData("/boot/bzImage", null)]
    [InlineData("/boot/vmlinuz", null)]
    [InlineData("/boot/kernel-6.1", null)]
    public void A_configuration_is_where_distributions_and_builds_leave_it(string kernel, string? config) =>
        Assert.Equal(config, KernelConfig.PathBeside(kernel));

    [Fact]
    public void The_JSON_says_the_same()
    {
        string config = Good.Replace("CONFIG_VIRTIO_BLK=y", "CONFIG_VIRTIO_BLK=m", StringComparison.Ordinal);
        string rendered = ReportJson.Render(Inspect(Packed.BzImage(Packed.Gzip(Vmlinux(config)))));
        using JsonDocument document = JsonDocument.Parse(rendered);
        JsonElement root = document.RootElement;
        Assert.Equal("bzImage", root.GetProperty("format").GetString());
        Assert.Equal("2.15", root.GetProperty("bootProtocol").GetString());
        Assert.Equal("gzip", root.GetProperty("compression").GetString());
        Assert.Equal("0x1000010", root.GetProperty("entries")[1].GetProperty("address").GetString());
        Assert.Equal(0, root.GetProperty("relocations").GetInt32());
        Assert.Equal(0x20_0000, root.GetProperty("initSize").GetInt64());
        Assert.False(root.TryGetProperty("obstacle", out _));
        JsonElement finding = Assert.Single(root.GetProperty("lacks").EnumerateArray());
        Assert.Equal("CONFIG_VIRTIO_BLK", finding.GetProperty("option").GetString());
        Assert.Equal("module", finding.GetProperty("state").GetString());
        Assert.True(finding.GetProperty("needed").GetBoolean());
    }

    [Fact]
    public void A_damaged_or_boundless_configuration_is_none_or_a_bounded_one()
    {
        byte[] packed = Packed.Gzip(Encoding.ASCII.GetBytes(Good));
        byte[] marked = [.. "IKCFG_ST"u8, .. packed, .. "IKCFG_ED"u8];
        Assert.NotNull(KernelConfig.Find([.. "IKCFG_ST and so on"u8, .. marked]));
        Assert.Null(KernelConfig.Find(marked.AsSpan(0, marked.Length - 1)));
        Assert.Null(KernelConfig.Find(marked.With(30, (ulong)0x1234_5678_9abc_def0)));
        Assert.Null(KernelConfig.Find([.. "IKCFG_STIKCFG_ED"u8]));

        // 16 MiB of options in a small payload, of which only the first 4 MiB are read.
        using var options = new MemoryStream();
        byte[] line = [.. Enumerable.Repeat("CONFIG_SMP=y\n"u8.ToArray(), 1000).SelectMany(text => text)];
        for (int i = 0; i < (16 << 20) / line.Length; i++)
        {
            options.Write(line);
        }

        byte[] bomb = [.. "IKCFG_ST"u8, .. Packed.Gzip(options.ToArray()), .. "IKCFG_ED"u8];
        long before = GC.GetAllocatedBytesForCurrentThread();
        Assert.True(KernelConfig.Find(bomb)!.IsBuiltIn("CONFIG_SMP"));
        Assert.InRange(GC.GetAllocatedBytesForCurrentThread() - before, 0, 20 << 20); // a short-lived string for each line
    }

    [Fact]
    public void Lines_of_any_length_and_ending_are_read()
    {
        string text = new string('x', 200_000) + "\nCONFIG_A=y\n\nCONFIG_B=m\r\nCONFIG_C=n\n CONFIG_D=y\nCONFIG_E=\"y\nCONFIG_F=y";
        KernelConfig config = KernelConfig.Parse(new MemoryStream(Encoding.ASCII.GetBytes(text)));
        Assert.True(config.IsBuiltIn("CONFIG_A"));
        Assert.False(config.IsModule("CONFIG_B"));
        Assert.False(config.IsBuiltIn("CONFIG_D"));
        Assert.True(config.IsBuiltIn("CONFIG_F"));
    }

    /// <summary>Each input is a whole kernel that is unpacked: thousands of them, not a million.</summary>
    [Fact]
    public void Damaged_kernels_are_inspected_or_refused()
    {
        byte[] vmlinux = Vmlinux(Good);
        var random = new Random(41);
        for (int i = 0; i < 2_000; i++)
        {
            byte[] bad = [.. vmlinux];
            Spoil(bad, random, 64 + (56 * 4));
            byte[] file = random.Next(3) == 0 ? bad : Packed.BzImage(Packed.Gzip(bad));
            if (random.Next(3) == 0)
            {
                Spoil(file, random, 0x270);
            }

            try
            {
                KernelReport report = Inspect(file);
                Assert.NotEmpty(ReportText.Render(report));
            }
            catch (BootException error)
            {
                Assert.DoesNotContain('\n', error.Message);
            }
        }
    }

    [Fact]
    public void A_million_damaged_kernels_are_inspected_or_refused()
    {
        // Without a configuration, which would be unpacked each time, and not packed: see the other two.
        byte[] good = MadeUp.Vmlinux([.. MadeUp.Note("Linux", 0x100, 0), .. MadeUp.Note("Xen", 18, 0, 6, 0, 1)]);
        Encoding.ASCII.GetBytes("Linux version 6.1.9 (a@b)").CopyTo(good, 0x400);
        byte[] bad = new byte[good.Length];
        var source = new MemoryImageSource("it", bad);
        var random = new Random(43);
        int inspected = 0;
        long most = 0;
        for (int i = 0; i < 1_000_000; i++)
        {
            good.CopyTo(bad, 0);
            Spoil(bad, random, 64 + (56 * 3));
            source.Reset(bad.AsMemory(0, random.Next(8) == 0 ? random.Next(bad.Length + 1) : bad.Length));
            long before = GC.GetAllocatedBytesForCurrentThread();
            if (KernelImage.TryParse(source, out KernelImage? kernel) is null)
            {
                KernelReport report = KernelInspector.Inspect(kernel!, SystemLibraries.Default);
                most = Math.Max(most, GC.GetAllocatedBytesForCurrentThread() - before);
                if (report.Entries.Count == 0 || (i % 64 == 0 && ReportText.Render(report).Length == 0))
                {
                    Assert.Fail($"input {i}: nothing said");
                }

                inspected++;
            }
        }

        Assert.InRange(most, 0, 32 << 10);
        Assert.InRange(inspected, 10_000, 990_000);
    }

    [Fact]
    public void A_million_damaged_configurations_are_read_or_none()
    {
        byte[] packed = Packed.Gzip(Encoding.ASCII.GetBytes(Good));
        byte[] good = [.. "Linux IKCFG_ST"u8, .. packed, .. "IKCFG_ED and more"u8];
        byte[] bad = new byte[good.Length];
        var random = new Random(47);
        int found = 0;
        long before = GC.GetAllocatedBytesForCurrentThread();
        for (int i = 0; i < 1_000_000; i++)
        {
            good.CopyTo(bad, 0);
            for (int changes = random.Next(3); changes >= 0; changes--)
            {
                // Mostly the markers and the header: those are refused quickly, while unpacking takes 10 us.
                int at = random.Next(8) == 0 ? random.Next(bad.Length) : random.Next(6, 18);
                bad[at] = (byte)random.Next(256);
            }

            int length = random.Next(8) == 0 ? random.Next(bad.Length + 1) : bad.Length;
            found += KernelConfig.Find(bad.AsSpan(0, length)) is null ? 0 : 1;
        }

        // A decoder for each that is unpacked, and what a real one holds.
        Assert.InRange(GC.GetAllocatedBytesForCurrentThread() - before, 0, 1_000_000 * (16L << 10));
        Assert.InRange(found, 1_000, 990_000);
    }

    [Fact]
    public void A_million_damaged_lines_are_options_or_nothing()
    {
        byte[] good = Encoding.ASCII.GetBytes("CONFIG_A=y\nCONFIG_BB=m\n# CONFIG_C is not set\nCONFIG_D=\"y\"\nCONFIG_E=12\n");
        byte[] bad = new byte[good.Length];
        using var text = new MemoryStream(bad);
        var random = new Random(53);
        int kept = 0;
        for (int i = 0; i < 1_000_000; i++)
        {
            good.CopyTo(bad, 0);
            for (int changes = random.Next(3); changes >= 0; changes--)
            {
                bad[random.Next(bad.Length)] = random.Next(3) switch { 0 => (byte)'\n', 1 => (byte)'=', _ => (byte)random.Next(256) };
            }

            text.Position = 0;
            KernelConfig config = KernelConfig.Parse(text);
            kept += config.IsBuiltIn("CONFIG_A") ? 1 : 0;
            if (config.IsBuiltIn("CONFIG_D") && !bad.AsSpan().Contains((byte)'D'))
            {
                Assert.Fail($"input {i}: an option out of nowhere");
            }
        }

        Assert.InRange(kept, 100_000, 990_000);
    }

    [ReferenceKernelFact]
    public void The_reference_kernel_holds_its_configuration()
    {
        KernelReport report = KernelInspector.Inspect(ReferenceKernelFactAttribute.Find()!);
        Assert.Equal("in the kernel", report.ConfigurationSource);
        Assert.Null(report.Problem);
        Assert.NotEqual(0, report.Relocations);
        Assert.Contains(report.Entries, entry => entry.Name == "PVH");
    }

    /// <summary>A vmlinux with both entries, a banner and a configuration.</summary>
    private static byte[] Vmlinux(string config, string banner = "")
    {
        byte[] packed = Packed.Gzip(Encoding.ASCII.GetBytes(config));
        byte[] data = [.. Encoding.ASCII.GetBytes(banner), 0, .. "IKCFG_ST"u8, .. packed, .. "IKCFG_ED"u8];
        byte[] notes = [.. MadeUp.Note("Linux", 0x100, 0), .. MadeUp.Note("Xen", 18, 0, 6, 0, 1)];
        return MadeUp.Elf64(
            0x100_0010,
            new MadeUp.Part(0x100_0000, 0x800, 0x800),
            new MadeUp.Part(0x110_0000, (ulong)data.Length, (ulong)data.Length, Bytes: data),
            new MadeUp.Part(0x120_0000, 0x400, 0x3000),
            new MadeUp.Part(0, (ulong)notes.Length, 0, Type: 4, notes));
    }

    private static void Spoil(byte[] bytes, Random random, int headers)
    {
        for (int changes = random.Next(3); changes > 0; changes--)
        {
            int at = random.Next(random.Next(2) == 0 ? Math.Min(headers, bytes.Length) : bytes.Length);
            bytes[at] = random.Next(3) switch { 0 => 0, 1 => 0xff, _ => (byte)random.Next(256) };
        }
    }

    private static KernelReport Inspect(byte[] file)
    {
        using KernelImage kernel = MadeUp.Open(file);
        return KernelInspector.Inspect(kernel, SystemLibraries.Default);
    }
}

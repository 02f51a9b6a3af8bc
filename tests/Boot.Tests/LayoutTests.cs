using Vmm.Devices.Memory;

namespace Vmm.Boot.Tests;

public sealed class LayoutTests
{
    private const ulong Gib = 1UL << 30;

    [Fact]
    public void Nothing_overlaps()
    {
        (string Name, ulong Start, ulong Length)[] ranges =
        [
            ("BIOS data area", 0x400, 0x100),
            ("GDT", Layout.Gdt, 48),
            ("start info", Layout.StartInfo, Layout.StartInfoRoom),
            ("boot_params", Layout.BootParams, Layout.PageSize),
            ("boot stack", 0x8000, Layout.BootStack - 0x8000),
            ("page tables", Layout.PageTables, 6 * Layout.PageSize),
            ("setup_data", Layout.SetupData, Layout.PageSize),
            ("command line", Layout.CommandLine, Layout.CommandLineRoom),
            ("EBDA", Layout.Ebda, 0x400),
            ("VGA window", 0xa_0000, 0x2_0000),
            ("generation ID", Layout.GenerationId & ~(Layout.PageSize - 1), Layout.PageSize),
            ("ACPI", Layout.AcpiTables, Layout.AcpiTablesRoom),
            ("MP table", Layout.MpTable, Layout.MpTableRoom),
            ("low memory", Layout.HighMemory, Layout.LowMemoryEnd - Layout.HighMemory),
            ("32-bit PCI window", Layout.PciWindow32, Layout.PciWindow32Size),
            ("SYSCALL landing", Layout.SyscallLanding, Layout.SyscallLandingSize),
            ("virtio-mmio", Layout.VirtioMmio, Layout.VirtioMmioSize),
            ("ECAM", Layout.PciEcam, Layout.PciEcamSize),
            ("IOAPIC", Layout.IoApic, Layout.PageSize),
            ("LAPIC and MSI", Layout.LocalApic, 0x10_0000),
            ("identity map", Layout.KvmIdentityMap, Layout.PageSize),
            ("TSS", Layout.KvmTss, 3 * Layout.PageSize),
            ("high memory", Layout.FourGib, 1),
        ];
        for (int i = 1; i < ranges.Length; i++)
        {
            ulong end = ranges[i - 1].Start + ranges[i - 1].Length;
            Assert.True(end <= ranges[i].Start, $"{ranges[i - 1].Name} and {ranges[i].Name}");
        }
    }

    [Theory]
    [InlineData(1, 1, 0)]
    [InlineData(3, 3, 0)]
    [InlineData(6, 3, 3)]
    public void Memory_continues_above_the_hole(ulong size, ulong low, ulong high) =>
        Assert.Equal((low * Gib, high * Gib), Layout.SplitMemory(size * Gib));

    [Theory]
    [InlineData(1, 0, 46, 4, 64)]
    [InlineData(3, 3, 46, 7, 64)]
    [InlineData(3, 3, 36, 7, 57)]
    [InlineData(3, 60, 36, 64, 0)]
    public void The_PCI_window_above_4_GiB_is_behind_all_memory(
        ulong low, ulong high, int bits, ulong start, ulong length)
    {
        var regions = new List<GuestRegion> { new(default, low * Gib, 0) };
        if (high != 0)
        {
            regions.Add(new GuestRegion(new GuestAddress(Layout.FourGib), (high * Gib) - 1, 0));
        }

        var memory = new GuestMemory([.. regions]);
        Assert.Equal((new GuestAddress(start * Gib), length * Gib), Layout.PciWindow64(memory, bits));
    }

    [Fact]
    public void The_memory_map_has_both_sides_of_the_hole_and_covers_no_address_twice()
    {
        var memory = new GuestMemory(
            new GuestRegion(default, 3 * Gib, 0), new GuestRegion(new GuestAddress(4 * Gib), 3 * Gib, 0));
        E820Range[] map = E820Map.Build(memory, new E820Range(new GuestAddress(5 * Gib), 0x1000, E820Type.Reserved));
        ulong end = 0, ram = 0;
        foreach (E820Range range in map)
        {
            Assert.True(range.Start.Value >= end);
            end = range.End.Value;
            ram += range.Type == E820Type.Ram ? range.Length : 0;
        }

        Assert.Equal(7 * Gib, end);
        Assert.Equal((6 * Gib) - (Layout.HighMemory - Layout.Ebda) - 0x1000, ram);
    }
}

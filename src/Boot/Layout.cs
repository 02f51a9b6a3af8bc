using Vmm.Devices.Memory;

namespace Vmm.Boot;

/// <summary>Every fixed guest-physical address, with its reason. No other code of vmm defines one.</summary>
/// <remarks>
/// <code>
/// 0x0000_0500  GDT                          below 1 MiB: what the boot protocols need at the first instruction.
/// 0x0000_6000  PVH start info, multiboot    The guest has copied all of it by the time it hands out this memory.
/// 0x0000_7000  boot_params ("zero page")
/// 0x0000_8000  boot stack
/// 0x0000_9000  page tables (6 pages)
/// 0x0000_f000  setup_data
/// 0x0002_0000  command line (64 KiB)
/// 0x0009_fc00  EBDA                         from here to 1 MiB reserved in the e820 map
/// 0x000d_f000  VM generation ID
/// 0x000e_0000  ACPI tables
/// 0x000f_0000  MP table
/// 0x0010_0000  kernel ... initramfs at the end of low memory
/// 0xc000_0000  hole: 32-bit PCI window, SYSCALL landing, virtio-mmio, ECAM, IOAPIC, LAPIC, KVM's own pages
/// 0x1_0000_0000  the rest of memory, then the 64-bit PCI window
/// </code>
/// </remarks>
public static class Layout
{
    public const ulong PageSize = 0x1000;

    /// <summary>The GDT that the entry state names, just past the BIOS data area (0x400-0x4ff).</summary>
    public const ulong Gdt = 0x500;

    /// <summary>hvm_start_info with its module list and memory map, or the multiboot information: one page. Only one
    /// of the two protocols is ever in use.</summary>
    public const ulong StartInfo = 0x6000;

    /// <summary>Bytes from <see cref="StartInfo"/> that may be used.</summary>
    public const ulong StartInfoRoom = PageSize;

    /// <summary>struct boot_params: one page; the boot protocol lets it lie anywhere.</summary>
    public const ulong BootParams = 0x7000;

    /// <summary>First stack pointer, growing down through the page from 0x8000. Linux makes its own stack before it
    /// pushes anything; other kernels may not.</summary>
    public const ulong BootStack = 0x8ff0;

    /// <summary>Identity map of the first 4 GiB: PML4, PDPT and four page directories, six pages.</summary>
    public const ulong PageTables = 0x9000;

    /// <summary>Linked list of struct setup_data (boot.rst, "setup_data"): one page.</summary>
    public const ulong SetupData = 0xf000;

    /// <summary>The command line, with its terminating zero.</summary>
    public const ulong CommandLine = 0x2_0000;

    /// <summary>Bytes from <see cref="CommandLine"/> that may be used; Linux on x86 takes 2048.</summary>
    public const ulong CommandLineRoom = 0x1_0000;

    /// <summary>Where a PC's extended BIOS data area begins, in the last KiB of base memory: the first 1 KiB that
    /// is not the guest's to use.</summary>
    public const ulong Ebda = 0x9_fc00;

    /// <summary>The VM generation ID: 16 bytes in a page of their own, which a program of the guest may map. Behind the VGA window,
    /// because Linux takes that area to be cached whatever the MTRRs say, and not where a PC's adapters begin theirs (each 2 KiB).</summary>
    public const ulong GenerationId = 0xd_f100;

    /// <summary>RSDP and all ACPI tables, in the area (0xe0000-0xfffff) that is searched for the RSDP (ACPI 6.5,
    /// 5.2.5.1) by kernels that are not told its address.</summary>
    public const ulong AcpiTables = 0xe_0000;

    /// <summary>Bytes from <see cref="AcpiTables"/> that may be used.</summary>
    public const ulong AcpiTablesRoom = 0x1_0000;

    /// <summary>MP floating pointer structure and configuration table. The BIOS area 0xf0000-0xfffff is one of the
    /// three places where it is looked for (MP 1.4, section 4), the only one with room for hundreds of CPUs.</summary>
    public const ulong MpTable = 0xf_0000;

    /// <summary>Bytes from <see cref="MpTable"/> that may be used.</summary>
    public const ulong MpTableRoom = 0x1_0000;

    /// <summary>Kernels are loaded here or above; only multiboot ones also below, where vmm's own data avoids them (<see
    /// cref="FreeRoom"/>).</summary>
    public const ulong HighMemory = 0x10_0000;

    /// <summary>Low memory ends here at the latest; what is left of --mem continues at <see cref="FourGib"/>.</summary>
    public const ulong LowMemoryEnd = 0xc000_0000;

    /// <summary>Where BARs below 4 GiB are placed.</summary>
    public const ulong PciWindow32 = 0xc000_0000;

    /// <summary>Bytes of <see cref="PciWindow32"/>.</summary>
    public const ulong PciWindow32Size = 0x1000_0000;

    /// <summary>What MSR_LSTAR's landing address is mapped to on a PVM host. There must never be memory or a device
    /// here: the fetch has to fail for vmm to see the SYSCALL.</summary>
    public const ulong SyscallLanding = 0xd000_0000;

    /// <summary>Bytes of <see cref="SyscallLanding"/>: one large page.</summary>
    public const ulong SyscallLandingSize = 0x20_0000;

    /// <summary>virtio-mmio devices, one after another.</summary>
    public const ulong VirtioMmio = 0xd100_0000;

    /// <summary>Bytes that one virtio-mmio device takes: registers and configuration space, in one page.</summary>
    public const ulong VirtioMmioStride = PageSize;

    /// <summary>Bytes of the whole virtio-mmio window.</summary>
    public const ulong VirtioMmioSize = 0x10_0000;

    /// <summary>PCI configuration space by memory: 1 MiB for each of 256 buses (PCIe 5.0, 7.2.2), aligned to its
    /// size.</summary>
    public const ulong PciEcam = 0xe000_0000;

    /// <summary>Bytes of <see cref="PciEcam"/>.</summary>
    public const ulong PciEcamSize = 0x1000_0000;

    /// <summary>Where KVM's in-kernel IOAPIC answers, as in every PC.</summary>
    public const ulong IoApic = 0xfec0_0000;

    /// <summary>Local APIC, and the addresses that message-signalled interrupts are written to.</summary>
    public const ulong LocalApic = 0xfee0_0000;

    /// <summary>KVM_SET_IDENTITY_MAP_ADDR: one page, for Intel processors without unrestricted guest.</summary>
    public const ulong KvmIdentityMap = 0xfffb_c000;

    /// <summary>KVM_SET_TSS_ADDR: three pages, for the same.</summary>
    public const ulong KvmTss = 0xfffb_d000;

    /// <summary>Bytes from <see cref="KvmIdentityMap"/> to the end of <see cref="KvmTss"/>.</summary>
    public const ulong KvmPagesSize = 4 * PageSize;

    /// <summary>Where memory continues behind the hole.</summary>
    public const ulong FourGib = 0x1_0000_0000;

    /// <summary>How --mem is laid out: low memory, then what does not fit below the hole.</summary>
    /// <param name="size">Bytes of memory.</param>
    /// <returns>Bytes from address 0 on, and bytes from <see cref="FourGib"/> on (0 if all fits below).</returns>
    public static (ulong Low, ulong High) SplitMemory(ulong size)
    {
        ulong low = Math.Min(size, LowMemoryEnd);
        return (low, size - low);
    }

    /// <summary>Where BARs above 4 GiB are placed: behind all memory, aligned to 1 GiB, so that a BAR of up to that
    /// size needs no gap; as long as it may be for the guest's physical addresses, at most 64 GiB.</summary>
    /// <param name="memory">The guest's memory.</param>
    /// <param name="physicalAddressBits">CPUID 0x80000008 EAX[7:0] as the guest sees it: 36 to 52.</param>
    /// <returns>Start and length; a length of 0 where no address is left.</returns>
    public static (GuestAddress Start, ulong Length) PciWindow64(GuestMemory memory, int physicalAddressBits)
    {
        const ulong Gib = 1UL << 30;
        ulong end = Math.Max(FourGib, memory.Regions[^1].End.Value);
        ulong start = (end + Gib - 1) & ~(Gib - 1);
        ulong limit = 1UL << physicalAddressBits;
        return (new GuestAddress(start), start < limit ? Math.Min(limit - start, 64 * Gib) : 0);
    }
}

using Vmm.Boot;
using Vmm.Boot.Acpi;
using Vmm.Devices.Memory;
using Vmm.Machines.Slots;

namespace Vmm.Machines;

/// <summary>What firmware would tell the guest about the machine: ACPI tables, and MP tables for kernels without
/// ACPI.</summary>
internal sealed class FirmwareTables
{
    private readonly AcpiOptions _acpi;
    private readonly MpTableOptions _mp;

    /// <param name="pci">The PCI bus; null without.</param>
    /// <param name="virtioMmio">Devices on the mmio transport.</param>
    public FirmwareTables(int cpus, AcpiPci? pci, IReadOnlyList<AcpiVirtioMmio> virtioMmio)
    {
        _acpi = new AcpiOptions { Cpus = cpus, Pci = pci, VirtioMmio = virtioMmio, Generation = Generation };
        _mp = new MpTableOptions { Cpus = cpus, PciInterrupts = pci?.Interrupts ?? [] };
    }

    /// <summary>For a machine with these devices; a PCI bus gets its windows now.</summary>
    /// <param name="processor">CPUID, for the width of physical addresses.</param>
    public static FirmwareTables For(int cpus, IVirtioSlots slots, GuestMemory memory, ReadOnlySpan<CpuidEntry> processor)
    {
        if (slots is not PciSlots pci)
        {
            return new FirmwareTables(cpus, pci: null, ((MmioSlots)slots).Devices);
        }

        pci.AssignWindows();
        (GuestAddress start, ulong length) = Layout.PciWindow64(memory, PhysicalAddressBits(processor));
        return new FirmwareTables(cpus, new AcpiPci
        {
            Ecam = new GuestAddress(Layout.PciEcam),
            Window32 = (Layout.PciWindow32, Layout.PciWindow32Size),
            Window64 = (start.Value, length),
            Interrupts = pci.Interrupts,
        }, virtioMmio: []);
    }

    /// <summary>Where the RSDP is.</summary>
    public static GuestAddress Rsdp => new(Layout.AcpiTables);

    /// <summary>Where the VM generation ID is.</summary>
    public static GuestAddress Generation => new(Layout.GenerationId);

    /// <summary>Writes both kinds of tables.</summary>
    /// <returns>Further ranges to reserve in <see cref="E820Map"/>.</returns>
    public IReadOnlyList<E820Range> Write(GuestMemory memory)
    {
        MpTable.Write(memory, new GuestAddress(Layout.MpTable), (int)Layout.MpTableRoom, _mp);
        if (AcpiTables.TryWrite(memory, Rsdp, (int)Layout.AcpiTablesRoom, _acpi, out int size))
        {
            return [];
        }

        // With more than a thousand CPUs the BIOS area is too small: the end of low memory is not.
        ulong room = ((ulong)size + Layout.PageSize - 1) & ~(Layout.PageSize - 1);
        GuestAddress tables = new(memory.Regions[0].End.Value - room);
        AcpiTables.Write(memory, Rsdp, tables, (int)room, _acpi);
        return [new E820Range(tables, room, E820Type.Acpi)];
    }

    /// <summary>CPUID 0x80000008 EAX[7:0]; 36 where a processor does not say.</summary>
    private static int PhysicalAddressBits(ReadOnlySpan<CpuidEntry> processor)
    {
        foreach (ref readonly CpuidEntry entry in processor)
        {
            if (entry.Function == 0x8000_0008)
            {
                return (int)(entry.Eax & 0xff);
            }
        }

        return 36;
    }
}

using Vmm.Boot.Acpi;
using Vmm.Devices.Memory;

namespace Vmm.Boot;

/// <summary>What <see cref="MpTable"/> describes.</summary>
public sealed record MpTableOptions
{
    /// <summary>Number of vCPUs; vCPU n has APIC id n. The table's APIC ids are bytes, so that only the first
    /// <see cref="MpTable.MaxCpus"/> are listed.</summary>
    public required int Cpus { get; init; }

    /// <summary>INTx routing; when empty no PCI bus is listed.</summary>
    public IReadOnlyList<PciInterrupt> PciInterrupts { get; init; } = [];
}

/// <summary>The Intel MultiProcessor Specification 1.4 tables, for kernels without ACPI (or with acpi=off): the
/// floating pointer structure (section 4.1) directly followed by the configuration table (4.2).</summary>
/// <remarks>
/// A kernel finds the floating pointer on a 16-byte boundary in the first KiB of memory, the last KiB of base memory
/// or 0xf0000 to 0xfffff. ISA interrupts go to the IOAPIC pin of the same number, the timer too: that is KVM's
/// default routing (GSI n to pin n of the IOAPIC), not the pin 2 of PC boards. IRQ 2 is the PIC cascade and not listed.
/// </remarks>
public static class MpTable
{
    /// <summary>Most processors that fit: ids 0 to 253; 254 is left for the IOAPIC, 255 is the broadcast id.</summary>
    public const int MaxCpus = 254;

    private const int PointerLength = 16;
    private const byte IsaBus = 0, PciBus = 1;
    private const byte Processor = 0, Bus = 1, IoApic = 2, IoInterrupt = 3, LocalInterrupt = 4;
    private const byte Int = 0, Nmi = 1, ExtInt = 3;
    private const byte EveryApic = 0xff;

    /// <summary>Writes the tables.</summary>
    /// <param name="memory">The guest's memory.</param>
    /// <param name="at">Where to, a multiple of 16; see the remarks on <see cref="MpTable"/>.</param>
    /// <param name="room">Bytes that may be used from there.</param>
    /// <param name="options">What to describe.</param>
    /// <returns>Bytes written.</returns>
    /// <exception cref="ArgumentException">The room is too small or the address is not aligned.</exception>
    /// <exception cref="GuestMemoryException">There is no memory.</exception>
    public static int Write(GuestMemory memory, GuestAddress at, int room, MpTableOptions options)
    {
        if (at.Value % 16 != 0 || at.Value > uint.MaxValue)
        {
            throw new ArgumentException(
                $"the MP table must lie on a 16-byte boundary below 4 GiB, not at {at}", nameof(at));
        }

        TableWriter table = Build((uint)at.Value, options);
        if (table.Length > room)
        {
            throw new ArgumentException(
                $"the MP table for {options.Cpus} CPUs takes {table.Length} bytes and has room for {room} at {at}",
                nameof(room));
        }

        memory.Write(at, table.Written);
        return table.Length;
    }

    private static TableWriter Build(uint at, MpTableOptions options)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(options.Cpus, 1);
        var w = new TableWriter();
        w.Ascii("_MP_", 4);
        w.U32(at + PointerLength);
        w.U8(1);                                    // length in paragraphs
        w.U8(4);                                    // version 1.4
        w.Zeros(6);                                 // checksum; feature bytes: a table is there, virtual wire mode
        w.Checksum(10, 0, PointerLength);

        int cpus = Math.Min(options.Cpus, MaxCpus);
        byte ioApicId = (byte)cpus;
        w.Ascii("PCMP", 4);
        w.U16(0);                                   // length, below
        w.U8(4);
        w.U8(0);                                    // checksum, below
        w.Ascii("VMM", 8);
        w.Ascii("VMM", 12);
        w.Zeros(6);                                 // no OEM table
        w.U16(0);                                   // entry count, below
        w.U32((uint)Layout.LocalApic);
        w.U32(0);                                   // no extended table

        int entries = Processors(w, cpus);
        entries += Buses(w, options.PciInterrupts.Count > 0);
        w.U8(IoApic);
        w.U8(ioApicId);
        w.U8(0x11);
        w.U8(1);                                    // enabled
        w.U32((uint)Layout.IoApic);
        entries += 1 + Interrupts(w, ioApicId, options.PciInterrupts);

        w.SetU16(PointerLength + 4, w.Length - PointerLength);
        w.SetU16(PointerLength + 34, entries);
        w.Checksum(PointerLength + 7, PointerLength, w.Length);
        return w;
    }

    private static int Processors(TableWriter w, int cpus)
    {
        for (int id = 0; id < cpus; id++)
        {
            w.U8(Processor);
            w.U8(id);
            w.U8(0x14);                             // integrated APIC, as KVM's version register says
            w.U8(id == 0 ? 3 : 1);                  // enabled; bit 1: this one boots
            w.U32(0);                               // CPUID leaf 1, EAX: not told
            w.U32(0x201);                           // and EDX: FPU and APIC
            w.Zeros(8);
        }

        return cpus;
    }

    private static int Buses(TableWriter w, bool pci)
    {
        w.U8(Bus);
        w.U8(IsaBus);
        w.Ascii("ISA", 6);
        if (!pci)
        {
            return 1;
        }

        w.U8(Bus);
        w.U8(PciBus);
        w.Ascii("PCI", 6);
        return 2;
    }

    private static int Interrupts(TableWriter w, byte ioApicId, IReadOnlyList<PciInterrupt> pci)
    {
        int count = 0;
        for (int irq = 0; irq < 16; irq++)
        {
            if (irq != 2)
            {
                Interrupt(w, IoInterrupt, Int, IsaBus, irq, ioApicId, irq);
                count++;
            }
        }

        foreach (PciInterrupt route in pci)
        {
            // Table 4-11 and D.3: the source is the device number and the pin.
            Interrupt(w, IoInterrupt, Int, PciBus, (route.Device << 2) | route.Pin, ioApicId, route.Gsi);
        }

        // Virtual wire mode: the PICs arrive at LINT0 of the boot processor, NMI at LINT1 of every one.
        Interrupt(w, LocalInterrupt, ExtInt, IsaBus, 0, 0, 0);
        Interrupt(w, LocalInterrupt, Nmi, IsaBus, 0, EveryApic, 1);
        return count + pci.Count + 2;
    }

    /// <summary>One entry of 4.3.4 or 4.3.5, with polarity and trigger as the bus has them.</summary>
    private static void Interrupt(TableWriter w, byte entry, byte type, byte bus, int source, byte apic, int pin)
    {
        w.U8(entry);
        w.U8(type);
        w.U16(0);
        w.U8(bus);
        w.U8(source);
        w.U8(apic);
        w.U8(pin);
    }
}

/// <summary>Where one INTx pin of one PCI device on bus 0 arrives. The MP table and the ACPI _PRT tell the guest
/// the same list.</summary>
/// <param name="Device">Device number, 0 to 31; all its functions share the four pins.</param>
/// <param name="Pin">0 for INTA to 3 for INTD.</param>
/// <param name="Gsi">IOAPIC pin, 0 to 23; level triggered.</param>
public readonly record struct PciInterrupt(int Device, int Pin, int Gsi);

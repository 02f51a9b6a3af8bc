using Vmm.Devices.Memory;

namespace Vmm.Boot.Acpi;

/// <summary>Puts the ACPI tables into guest memory: RSDP, XSDT, FADT with FACS and DSDT, MADT, SPCR, and MCFG where
/// there is a PCI bus.</summary>
/// <remarks>A machine with fixed hardware (not "hardware-reduced"): PM1 with a power button, PM timer and GPE0 are
/// those of <see cref="Vmm.Devices.Acpi.PowerManagement"/>, the reset register is port 0xcf9.</remarks>
public static class AcpiTables
{
    /// <summary>Bytes of the RSDP.</summary>
    public const int RsdpLength = 36;

    /// <summary>Most vCPUs that the DSDT has names for.</summary>
    public const int MaxCpus = 4096;

    private const int Alignment = 64;                   // what the FACS needs; more than enough for the others
    private const int RsdpRoom = (RsdpLength + Alignment - 1) / Alignment * Alignment;

    /// <summary>Writes the RSDP and the tables to different places.</summary>
    /// <param name="memory">The guest's memory.</param>
    /// <param name="rsdp">A multiple of 16, in 0xe0000-0xfffff if kernels are to find it by themselves.</param>
    /// <param name="tables">A multiple of 64, below 4 GiB, in memory that the guest's map calls ACPI or
    /// reserved.</param>
    /// <param name="room">Bytes that may be used from <paramref name="tables"/>.</param>
    /// <param name="options">The machine.</param>
    /// <returns>Bytes used from <paramref name="tables"/>.</returns>
    /// <exception cref="ArgumentException">The room is too small, or the tables are not aligned or not below
    /// 4 GiB.</exception>
    /// <exception cref="GuestMemoryException">There is no memory.</exception>
    public static int Write(GuestMemory memory, GuestAddress rsdp, GuestAddress tables, int room, AcpiOptions options)
    {
        CheckAlignment(rsdp, tables);
        (TableWriter built, ulong xsdt) = Build(tables.Value, options);
        if (built.Length > room || tables.Value + (ulong)built.Length > 1UL << 32)
        {
            throw new ArgumentException(
                $"the ACPI tables for {options.Cpus} CPUs take {built.Length} bytes and have {room} at {tables}",
                nameof(room));
        }

        memory.Write(tables, built.Written);
        memory.Write(rsdp, Rsdp(xsdt).Written);
        return built.Length;
    }

    /// <summary>Writes the RSDP and, right behind it, all tables, if there is room.</summary>
    /// <param name="memory">The guest's memory.</param>
    /// <param name="at">Where to: a multiple of 64; in 0xe0000-0xfffff if kernels are to find the RSDP by
    /// themselves.</param>
    /// <param name="room">Bytes that may be used from there.</param>
    /// <param name="options">The machine.</param>
    /// <param name="size">Bytes that RSDP and tables take together, wherever they are put.</param>
    /// <returns>False if the room is too small: nothing was written.</returns>
    /// <exception cref="ArgumentException">The address is not aligned.</exception>
    /// <exception cref="GuestMemoryException">There is no memory.</exception>
    public static bool TryWrite(GuestMemory memory, GuestAddress at, int room, AcpiOptions options, out int size)
    {
        GuestAddress tables = at + RsdpRoom;
        CheckAlignment(at, tables);
        (TableWriter built, ulong xsdt) = Build(tables.Value, options);
        size = RsdpRoom + built.Length;
        if (size > room)
        {
            return false;
        }

        memory.Write(tables, built.Written);
        memory.Write(at, Rsdp(xsdt).Written);
        return true;
    }

    private static void CheckAlignment(GuestAddress rsdp, GuestAddress tables)
    {
        if (rsdp.Value % 16 != 0 || tables.Value % Alignment != 0)
        {
            throw new ArgumentException(
                $"the RSDP needs a 16-byte boundary and the tables a {Alignment}-byte one, not {rsdp} and {tables}");
        }
    }

    private static (TableWriter Tables, ulong Xsdt) Build(ulong origin, AcpiOptions options)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(options.Cpus, 1);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(options.Cpus, MaxCpus);
        var w = new TableWriter();
        ulong facs = Next();
        Fadt.WriteFacs(w);
        ulong dsdt = Next();
        Dsdt.Write(w, options);

        var entries = new List<ulong> { Next() };
        Fadt.Write(w, facs, dsdt);
        entries.Add(Next());
        Madt.Write(w, options);
        if (options.Pci is { } pci)
        {
            entries.Add(Next());
            Mcfg.Write(w, pci);
        }

        entries.Add(Next());
        Spcr.Write(w);

        ulong xsdt = Next();
        AcpiHeader.Table(w, "XSDT", 1, () => entries.ForEach(w.U64));
        return (w, xsdt);

        ulong Next()
        {
            w.Zeros(-w.Length & (Alignment - 1));
            return origin + (ulong)w.Length;
        }
    }

    /// <summary>The root system description pointer, revision 2 (5.2.5.3). No RSDT: only kernels older than any 64-bit one need
    /// it.</summary>
    private static TableWriter Rsdp(ulong xsdt)
    {
        var w = new TableWriter();
        w.Ascii("RSD PTR ", 8);
        w.U8(0);                                        // checksum of the first 20 bytes
        w.Ascii("VMM", 6);
        w.U8(2);
        w.U32(0);
        w.U32(RsdpLength);
        w.U64(xsdt);
        w.U8(0);                                        // checksum of all
        w.Zeros(3);
        w.Checksum(8, 0, 20);
        w.Checksum(32, 0, RsdpLength);
        return w;
    }
}

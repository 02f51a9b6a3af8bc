namespace Vmm.Boot.Acpi;

/// <summary>Where PCI configuration space is in memory (PCI firmware specification 3.3, 4.1.2).</summary>
internal static class Mcfg
{
    public static void Write(TableWriter w, AcpiPci pci) =>
        AcpiHeader.Table(w, "MCFG", 1, () =>
        {
            w.Zeros(8);
            w.U64(pci.Ecam.Value);
            w.U16(0);                                   // segment group
            w.U8(0);
            w.U8(pci.Buses - 1);
            w.U32(0);
        });
}

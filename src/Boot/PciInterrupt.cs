namespace Vmm.Boot;

/// <summary>Where one INTx pin of one PCI device on bus 0 arrives. The MP table and the ACPI _PRT tell the guest
/// the same list.</summary>
/// <param name="Device">Device number, 0 to 31; all its functions share the four pins.</param>
/// <param name="Pin">0 for INTA to 3 for INTD.</param>
/// <param name="Gsi">IOAPIC pin, 0 to 23; level triggered.</param>
public readonly record struct PciInterrupt(int Device, int Pin, int Gsi);

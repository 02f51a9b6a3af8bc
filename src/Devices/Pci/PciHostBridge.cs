namespace Vmm.Devices.Pci;

/// <summary>Device 0 of bus 0: what tells a guest that there is a PCI bus. It has no registers of its own.</summary>
/// <remarks>1b36:0008 is the host bridge that Red Hat assigned for virtual machines without a chipset of a model's own.
/// Linux has neither a driver nor a quirk for it, whereas for Intel's 8086:1237 (440FX) it goes through the 440FX
/// errata, and for 8086:29c0 (Q35) it looks for that chipset's registers (ECAM base, TSEG).</remarks>
public sealed class PciHostBridge() : PciFunction(
    "host bridge",
    new PciIdentity(Vendor: 0x1b36, Device: 0x0008, Class: 0x060000, Revision: 0, SubsystemVendor: 0x1af4, Subsystem: 0x1100));

namespace Vmm.Devices.Pci;

/// <summary>How a function says what it is (PCI Local Bus 3.0, section 6.2.1).</summary>
/// <param name="Vendor">Vendor ID, assigned by the PCI-SIG.</param>
/// <param name="Device">Device ID, assigned by the vendor.</param>
/// <param name="Class">Class code: base class, subclass and interface in the low 24 bits.</param>
/// <param name="Revision">Revision ID.</param>
/// <param name="SubsystemVendor">Subsystem Vendor ID.</param>
/// <param name="Subsystem">Subsystem ID.</param>
public readonly record struct PciIdentity(
    ushort Vendor, ushort Device, uint Class, byte Revision, ushort SubsystemVendor, ushort Subsystem);

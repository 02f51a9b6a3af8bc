namespace Vmm.Boot.Acpi;

/// <summary>The DSDT's part about PCI: the root bridge with its windows and interrupt routes, and a motherboard
/// device that claims ECAM's addresses, without which Linux does not use them (PCI firmware specification 3.3,
/// 4.1.2).</summary>
internal static class PciRoot
{
    private const int ConfigurationPort = 0xcf8;
    private const ulong EcamPerBus = 1 << 20;

    // The UUID of PCI's _OSC (PCI firmware specification 3.3, 4.5.1).
    private static readonly Guid PciOsc = new("33db4d5b-1ff7-401c-9657-7441c03dd766");

    public static void Write(AmlWriter aml, AcpiPci pci)
    {
        aml.Device("PCI0", () =>
        {
            aml.Name("_HID").EisaId("PNP0A08");
            aml.Name("_CID").EisaId("PNP0A03");
            aml.Name("_UID").Integer(0);
            aml.Name("_SEG").Integer(0);
            aml.Name("_BBN").Integer(0);
            aml.Name("_CRS").ResourceTemplate(crs => Windows(crs, pci));
            if (pci.Interrupts.Count > 0)
            {
                Routes(aml, pci.Interrupts);
            }

            OperatingSystemCapabilities(aml);
        });
        aml.Device("ECAM", () =>
        {
            aml.Name("_HID").EisaId("PNP0C02");
            aml.Name("_UID").Integer(1);
            aml.Name("_CRS").ResourceTemplate(crs =>
            {
                (ulong start, ulong length) = (pci.Ecam.Value, (ulong)pci.Buses * EcamPerBus);
                if (start + length <= 1UL << 32)
                {
                    crs.Memory32Fixed((uint)start, (uint)length);
                }
                else
                {
                    crs.MemoryFixed64(start, length);
                }
            });
        });
    }

    private static void Windows(AmlResources crs, AcpiPci pci)
    {
        crs.BusNumbers(pci.Buses - 1);
        crs.Ports(ConfigurationPort, 8);
        if (pci.Window32.Length > 0)
        {
            crs.MemoryWindow32(checked((uint)pci.Window32.Start), checked((uint)pci.Window32.Length));
        }

        if (pci.Window64.Length > 0)
        {
            crs.MemoryWindow64(pci.Window64.Start, pci.Window64.Length);
        }
    }

    /// <summary>_PRT (6.2.13): device in the high word, any function, pin, no link device, GSI.</summary>
    private static void Routes(AmlWriter aml, IReadOnlyList<PciInterrupt> routes) =>
        aml.Name("_PRT").Package([.. routes.Select<PciInterrupt, Action>(route => () =>
            aml.Package((ulong)route.Device << 16 | 0xffff, (ulong)route.Pin, 0, (ulong)route.Gsi))]);

    /// <summary>_OSC (6.2.11): no firmware competes for PCI Express's features, so that the guest gets every one that
    /// it asks for: its request is returned as it is. Anything but PCI's UUID is answered "unrecognised" (bit
    /// 2).</summary>
    private static void OperatingSystemCapabilities(AmlWriter aml) =>
        aml.Method("_OSC", 4, () =>
        {
            aml.CreateDWordField(3, 0, "CDW1");
            aml.IfArgumentIs(0, PciOsc.ToByteArray(), () => aml.ReturnArgument(3));
            aml.OrInto("CDW1", 4);
            aml.ReturnArgument(3);
        });
}

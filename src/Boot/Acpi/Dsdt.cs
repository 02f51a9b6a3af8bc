using System.Globalization;

namespace Vmm.Boot.Acpi;

/// <summary>The differentiated system description table (ACPI 6.5, 5.2.11.1): the devices that cannot be found by
/// asking hardware, in AML.</summary>
internal static class Dsdt
{
    public const int SerialPort = 0x3f8, SerialIrq = 4;

    private const int ClockPort = 0x70;

    public static void Write(TableWriter w, AcpiOptions options) =>
        // Revision 2: integers have 64 bits.
        AcpiHeader.Table(w, "DSDT", 2, () =>
        {
            var aml = new AmlWriter(w);
            aml.Scope("\\_SB", () =>
            {
                Processors(aml, options.Cpus);
                if (options.Pci is { } pci)
                {
                    PciRoot.Write(aml, pci);
                }

                if (options.Serial)
                {
                    Serial(aml);
                }

                if (options.Clock)
                {
                    Clock(aml);
                }

                for (int i = 0; i < options.VirtioMmio.Count; i++)
                {
                    VirtioMmio(aml, i, options.VirtioMmio[i]);
                }
            });
            aml.Name("\\_S5").Package(AcpiPorts.SleepTypeS5, AcpiPorts.SleepTypeS5, 0, 0);
        });

    /// <summary>Processor devices in a processor container (8.4); _UID leads to the MADT.</summary>
    private static void Processors(AmlWriter aml, int count) =>
        aml.Device("CPUS", () =>
        {
            aml.Name("_HID").String("ACPI0010");
            aml.Name("_CID").EisaId("PNP0A05");
            for (int id = 0; id < count; id++)
            {
                int uid = id;
                aml.Device(string.Create(CultureInfo.InvariantCulture, $"C{id:X3}"), () =>
                {
                    aml.Name("_HID").String("ACPI0007");
                    aml.Name("_UID").Integer((ulong)uid);
                });
            }
        });

    private static void Serial(AmlWriter aml) =>
        aml.Device("COM1", () =>
        {
            aml.Name("_HID").EisaId("PNP0501");
            aml.Name("_UID").Integer(1);
            aml.Name("_CRS").ResourceTemplate(crs =>
            {
                crs.Ports(SerialPort, 8);
                crs.IsaIrq(SerialIrq);
            });
        });

    /// <summary>The clock's IRQ 8 is left out: it never interrupts.</summary>
    private static void Clock(AmlWriter aml) =>
        aml.Device("RTC", () =>
        {
            aml.Name("_HID").EisaId("PNP0B00");
            aml.Name("_CRS").ResourceTemplate(crs => crs.Ports(ClockPort, 2));
        });

    /// <summary>LNRO0005 is the id that Linux's virtio-mmio driver has for ACPI.</summary>
    private static void VirtioMmio(AmlWriter aml, int number, AcpiVirtioMmio device) =>
        aml.Device(string.Create(CultureInfo.InvariantCulture, $"V{number:X3}"), () =>
        {
            aml.Name("_HID").String("LNRO0005");
            aml.Name("_UID").Integer((ulong)number);
            aml.Name("_CRS").ResourceTemplate(crs =>
            {
                crs.Memory32Fixed(device.Base, device.Length);
                crs.Interrupt(device.Gsi, device.Level);
            });
        });
}

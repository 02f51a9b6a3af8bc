using System.Globalization;
using Vmm.Devices.Acpi;
using Vmm.Devices.Legacy;
using Vmm.Devices.Memory;

namespace Vmm.Boot.Acpi;

/// <summary>The differentiated system description table (ACPI 6.5, 5.2.11.1): the devices that cannot be found by
/// asking hardware, in AML.</summary>
internal static class Dsdt
{
    // _STA (6.3.7): present, enabled, shown to the user or not, functioning.
    private const ulong Shown = 0x0f, NotShown = 0x0b;

    private const string GenerationDevice = "VGEN";
    private const ulong NumberChanged = 0x80;

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

                Serial(aml);
                Clock(aml);
                Ports(aml, "PEVT", Pvpanic.AcpiId, Shown, Pvpanic.Port, 1);
                Ports(aml, "FWCF", FwCfg.AcpiId, NotShown, FwCfg.Port, FwCfg.PortCount);
                if (options.Generation is { } generation)
                {
                    Generation(aml, generation);
                }

                for (int i = 0; i < options.VirtioMmio.Count; i++)
                {
                    VirtioMmio(aml, i, options.VirtioMmio[i]);
                }
            });
            if (options.Generation is not null)
            {
                // The event's name (5.6.4.1): E for one that is cleared before it is handled.
                aml.Scope("\\_GPE", () => aml.Method(
                    "_E" + PowerManagement.GenerationEvent.ToString("X2", CultureInfo.InvariantCulture), 0,
                    () => aml.Notify($"\\_SB.{GenerationDevice}", NumberChanged)));
            }

            aml.Name("\\_S5").Package(PowerManagement.SoftOffSleepType, PowerManagement.SoftOffSleepType, 0, 0);
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
                aml.Device("C" + id.ToString("X3", CultureInfo.InvariantCulture), () =>
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
                crs.Ports(Serial16550.Com1Port, Serial16550.PortCount);
                crs.IsaIrq(Serial16550.Com1Irq);
            });
        });

    /// <summary>The clock's IRQ 8 is left out: it never interrupts.</summary>
    private static void Clock(AmlWriter aml) =>
        aml.Device("RTC", () =>
        {
            aml.Name("_HID").EisaId("PNP0B00");
            aml.Name("_CRS").ResourceTemplate(crs => crs.Ports(Cmos.Port, Cmos.PortCount));
        });

    /// <summary>A device of QEMU's that is found by its id and consists of a few ports (docs/specs/pvpanic and fw_cfg).
    /// </summary>
    private static void Ports(AmlWriter aml, string name, string id, ulong status, int first, int count) =>
        aml.Device(name, () =>
        {
            aml.Name("_HID").String(id);
            aml.Name("_STA").Integer(status);
            aml.Name("_CRS").ResourceTemplate(crs => crs.Ports(first, count));
        });

    /// <summary>"Virtual Machine Generation ID": found by its compatible id; ADDR has the lower and the upper half of the address.
    /// </summary>
    private static void Generation(AmlWriter aml, GuestAddress address) =>
        aml.Device(GenerationDevice, () =>
        {
            aml.Name("_HID").String(GenerationId.AcpiId);
            aml.Name("_CID").String(GenerationId.CompatibleId);
            aml.Name("_DDN").String(GenerationId.CompatibleId);
            aml.Name("ADDR").Package(address.Value & uint.MaxValue, address.Value >> 32);
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
                crs.Interrupt(device.Gsi);
            });
        });
}

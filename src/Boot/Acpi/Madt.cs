using Vmm.Devices.Acpi;

namespace Vmm.Boot.Acpi;

/// <summary>The multiple APIC description table (ACPI 6.5, 5.2.12).</summary>
/// <remarks>There is no override for the timer: KVM's default routing sends GSI n to IOAPIC pin n, for n = 0
/// too.</remarks>
internal static class Madt
{
    private const uint Enabled = 1, HasPics = 1;
    private const int ActiveHigh = 1, Level = 3 << 2;

    public static void Write(TableWriter w, AcpiOptions options) =>
        AcpiHeader.Table(w, "APIC", 5, () =>
        {
            w.U32((uint)Layout.LocalApic);
            w.U32(HasPics);
            for (int id = 0; id < options.Cpus; id++)
            {
                Processor(w, id);
            }

            w.U8(1);                                    // IOAPIC
            w.U8(12);
            w.U8(0);                                    // its id: KVM's register starts at 0
            w.U8(0);
            w.U32((uint)Layout.IoApic);
            w.U32(0);                                   // first GSI

            w.U8(2);                                    // interrupt source override
            w.U8(10);
            w.U8(0);                                    // ISA
            w.U8(PowerManagement.SciIrq);
            w.U32(PowerManagement.SciIrq);
            w.U16(ActiveHigh | Level);

            LocalNmi(w, options.Cpus);
        });

    private static void Processor(TableWriter w, int id)
    {
        if (id < CpuLapic.FirstLongId)
        {
            w.U8(0);
            w.U8(8);
            w.U8(id);                                   // _UID in the DSDT
            w.U8(id);
            w.U32(Enabled);
        }
        else
        {
            w.U8(9);
            w.U8(16);
            w.U16(0);
            w.U32((uint)id);
            w.U32(Enabled);
            w.U32((uint)id);
        }
    }

    /// <summary>LINT1 of every processor is NMI.</summary>
    private static void LocalNmi(TableWriter w, int cpus)
    {
        w.U8(4);
        w.U8(6);
        w.U8(0xff);
        w.U16(0);
        w.U8(1);
        if (cpus > CpuLapic.FirstLongId)
        {
            w.U8(0xa);
            w.U8(12);
            w.U16(0);
            w.U32(0xffff_ffff);
            w.U8(1);
            w.Zeros(3);
        }
    }
}

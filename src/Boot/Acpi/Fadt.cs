using Vmm.Devices.Acpi;
using Vmm.Devices.Legacy;

namespace Vmm.Boot.Acpi;

/// <summary>The fixed ACPI description table, revision 6 (ACPI 6.5, 5.2.9), and the FACS that it names
/// (5.2.10).</summary>
internal static class Fadt
{
    public const int FacsLength = 64;

    // Bytes of the register blocks (4.8.1).
    private const int EventLength = 4, ControlLength = 2, TimerLength = 4, Gpe0Length = 4;

    private const int LegacyDevices = 1 << 0, NoVga = 1 << 2, NoAspm = 1 << 4;

    // Fixed feature flags, table 5.10. A clear PWR_BUTTON means that the power button is fixed hardware, a clear
    // TMR_VAL_EXT that the timer has 24 bits.
    private const uint Wbinvd = 1 << 0, C1OnAllProcessors = 1 << 2, NoFixedSleepButton = 1 << 5,
        ClockDoesNotWake = 1 << 6, ResetRegister = 1 << 10, Headless = 1 << 12;

    // Latencies that mean that the state does not exist.
    private const int NoC2 = 0xffff, NoC3 = 0xffff;

    public static void Write(TableWriter w, ulong facs, ulong dsdt) =>
        AcpiHeader.Table(w, "FACP", 6, () =>
        {
            w.U32((uint)facs);
            w.U32((uint)dsdt);
            w.U8(0);
            w.U8(0);                                    // no preferred power profile
            w.U16(PowerManagement.SciIrq);
            w.U32(0);                                   // no SMI command port: always in ACPI mode
            w.Zeros(4);
            w.U32(PowerManagement.EventPort);
            w.U32(0);
            w.U32(PowerManagement.ControlPort);
            w.U32(0);
            w.U32(0);
            w.U32(PowerManagement.TimerPort);
            w.U32(PowerManagement.GeneralEventPort);
            w.U32(0);
            w.U8(EventLength);
            w.U8(ControlLength);
            w.U8(0);
            w.U8(TimerLength);
            w.U8(Gpe0Length);
            w.Zeros(3);                                 // no GPE1, no _CST
            w.U16(NoC2);
            w.U16(NoC3);
            w.Zeros(8);                                 // WBINVD works; no duty cycle; no RTC alarms
            w.U8(Cmos.CenturyRegister);                 // century
            w.U16(LegacyDevices | NoVga | NoAspm);
            w.U8(0);
            w.U32(Wbinvd | C1OnAllProcessors | NoFixedSleepButton | ClockDoesNotWake | ResetRegister
                | Headless);
            AcpiHeader.PortAddress(w, ResetPort.Port, 8, 1);
            w.U8(ResetPort.ResetValue);
            w.U16(0);                                   // Arm
            w.U8(0);                                    // minor version
            w.U64(0);                                   // X_FIRMWARE_CTRL: must be 0 when the 32-bit field is used
            w.U64(dsdt);
            AcpiHeader.PortAddress(w, PowerManagement.EventPort, EventLength * 8, 2);
            AcpiHeader.NoAddress(w);
            AcpiHeader.PortAddress(w, PowerManagement.ControlPort, ControlLength * 8, 2);
            AcpiHeader.NoAddress(w);
            AcpiHeader.NoAddress(w);
            AcpiHeader.PortAddress(w, PowerManagement.TimerPort, TimerLength * 8, 4);
            AcpiHeader.PortAddress(w, PowerManagement.GeneralEventPort, Gpe0Length * 8, 1);
            AcpiHeader.NoAddress(w);
            AcpiHeader.NoAddress(w);                    // sleep control and status: hardware-reduced only
            AcpiHeader.NoAddress(w);
            w.Ascii("VMM", 8, 0);                       // hypervisor vendor
        });

    /// <summary>There is no sleep state and no lock with firmware here, but machines with fixed hardware must have the
    /// table.</summary>
    public static void WriteFacs(TableWriter w)
    {
        w.Ascii("FACS", 4);
        w.U32(FacsLength);
        w.Zeros(24);
        w.U8(2);                                        // version
        w.Zeros(FacsLength - 33);
    }
}

using static Vmm.Boot.Acpi.AcpiPorts;

namespace Vmm.Boot.Acpi;

/// <summary>The fixed ACPI description table, revision 6 (ACPI 6.5, 5.2.9), and the FACS that it names (5.2.10).</summary>
internal static class Fadt
{
    public const int FacsLength = 64;

    private const int LegacyDevices = 1 << 0, Keyboard8042 = 1 << 1, NoVga = 1 << 2, NoAspm = 1 << 4, NoCmosClock = 1 << 5;

    // Fixed feature flags, table 5.10. A clear PWR_BUTTON means that the power button is fixed hardware.
    private const uint Wbinvd = 1 << 0, C1OnAllProcessors = 1 << 2, NoFixedSleepButton = 1 << 5, ClockDoesNotWake = 1 << 6,
        TimerHas32Bits = 1 << 8, ResetRegister = 1 << 10, Headless = 1 << 12;

    // Latencies that say "there is no such state".
    private const int NoC2 = 0xffff, NoC3 = 0xffff;

    public static void Write(TableWriter w, AcpiOptions options, ulong facs, ulong dsdt) =>
        AcpiHeader.Table(w, "FACP", 6, () =>
        {
            w.U32((uint)facs);
            w.U32((uint)dsdt);
            w.U8(0);
            w.U8(0);                                    // no preferred power profile
            w.U16(SciIrq);
            w.U32(0);                                   // no SMI command port: always in ACPI mode
            w.Zeros(4);
            w.U32(Pm1aEvent);
            w.U32(0);
            w.U32(Pm1aControl);
            w.U32(0);
            w.U32(0);
            w.U32(PmTimer);
            w.U32(Gpe0);
            w.U32(0);
            w.U8(Pm1aEventLength);
            w.U8(Pm1aControlLength);
            w.U8(0);
            w.U8(PmTimerLength);
            w.U8(Gpe0Length);
            w.Zeros(3);                                 // no GPE1, no _CST
            w.U16(NoC2);
            w.U16(NoC3);
            w.Zeros(8);                                 // WBINVD works; no duty cycle; no RTC alarms
            w.U8(options.Clock ? 0x32 : 0);             // century
            w.U16(LegacyDevices | NoVga | NoAspm
                | (options.Keyboard ? Keyboard8042 : 0) | (options.Clock ? 0 : NoCmosClock));
            w.U8(0);
            w.U32(Wbinvd | C1OnAllProcessors | NoFixedSleepButton | ClockDoesNotWake | TimerHas32Bits | ResetRegister
                | Headless);
            AcpiHeader.PortAddress(w, Reset, 8, 1);
            w.U8(ResetValue);
            w.U16(0);                                   // Arm
            w.U8(0);                                    // minor version
            w.U64(0);                                   // X_FIRMWARE_CTRL: must be 0 when the 32-bit field is used
            w.U64(dsdt);
            AcpiHeader.PortAddress(w, Pm1aEvent, Pm1aEventLength * 8, 2);
            AcpiHeader.NoAddress(w);
            AcpiHeader.PortAddress(w, Pm1aControl, Pm1aControlLength * 8, 2);
            AcpiHeader.NoAddress(w);
            AcpiHeader.NoAddress(w);
            AcpiHeader.PortAddress(w, PmTimer, PmTimerLength * 8, 4);
            AcpiHeader.PortAddress(w, Gpe0, Gpe0Length * 8, 1);
            AcpiHeader.NoAddress(w);
            AcpiHeader.NoAddress(w);                    // sleep control and status: hardware-reduced only
            AcpiHeader.NoAddress(w);
            w.Ascii("VMM", 8, 0);                       // hypervisor vendor
        });

    /// <summary>Nothing sleeps here and no firmware shares a lock, but ACPI with fixed hardware must have one.</summary>
    public static void WriteFacs(TableWriter w)
    {
        w.Ascii("FACS", 4);
        w.U32(FacsLength);
        w.Zeros(24);
        w.U8(2);                                        // version
        w.Zeros(FacsLength - 33);
    }
}

namespace Vmm.Boot.Acpi;

/// <summary>The fixed hardware of ACPI (ACPI 6.5, 4.8.1) and where it answers: what the FADT says and what the device
/// must do. All are I/O ports.</summary>
public static class AcpiPorts
{
    /// <summary>PM1 status (2 bytes) and PM1 enable (2 bytes).</summary>
    public const ushort Pm1aEvent = 0x600;

    public const int Pm1aEventLength = 4;

    /// <summary>PM1 control: SCI_EN, SLP_TYP, SLP_EN.</summary>
    public const ushort Pm1aControl = 0x604;

    public const int Pm1aControlLength = 2;

    /// <summary>The power management timer: 32 bits, read only, 3.579545 MHz.</summary>
    public const ushort PmTimer = 0x608;

    public const int PmTimerLength = 4;

    /// <summary>General-purpose events 0-15: status (2 bytes) and enable (2 bytes).</summary>
    public const ushort Gpe0 = 0x610;

    public const int Gpe0Length = 4;

    /// <summary>Reset register, in PCI's reset control port.</summary>
    public const ushort Reset = 0xcf9;

    /// <summary>What to write to <see cref="Reset"/>.</summary>
    public const byte ResetValue = 6;

    /// <summary>The system control interrupt: IRQ and GSI, level triggered, active high.</summary>
    public const int SciIrq = 9;

    /// <summary>SLP_TYP of soft-off, as \_S5 gives it.</summary>
    public const int SleepTypeS5 = 5;
}

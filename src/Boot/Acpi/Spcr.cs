namespace Vmm.Boot.Acpi;

/// <summary>Microsoft's serial port console redirection table, revision 2: COM1 is the console, so that a guest's
/// bare "earlycon" or a boot loader's serial output finds it.</summary>
internal static class Spcr
{
    public static void Write(TableWriter w) =>
        AcpiHeader.Table(w, "SPCR", 2, () =>
        {
            w.U8(0);                                    // 16550
            w.Zeros(3);
            AcpiHeader.PortAddress(w, Dsdt.SerialPort, 8, 1);
            w.U8(1);                                    // an 8259 interrupt
            w.U8(Dsdt.SerialIrq);
            w.U32(Dsdt.SerialIrq);
            w.U8(7);                                    // 115200 baud
            w.U8(0);                                    // no parity
            w.U8(1);                                    // 1 stop bit
            w.U8(0);                                    // no flow control
            w.U8(3);                                    // ANSI
            w.U8(0);
            w.U16(0xffff);                              // not on PCI
            w.U16(0xffff);
            w.Zeros(12);
        });
}

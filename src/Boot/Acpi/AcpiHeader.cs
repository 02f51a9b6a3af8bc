namespace Vmm.Boot.Acpi;

/// <summary>The header that the description tables share (ACPI 6.5, 5.2.6), and the address structure (5.2.3.2).</summary>
internal static class AcpiHeader
{
    private const int LengthAt = 4, ChecksumAt = 9;

    /// <summary>Writes a whole table: header, body, length and checksum.</summary>
    public static void Table(TableWriter w, string signature, int revision, Action body)
    {
        int start = w.Length;
        w.Ascii(signature, 4);
        w.U32(0);
        w.U8(revision);
        w.U8(0);
        w.Ascii("VMM", 6);
        w.Ascii("VMM", 8);
        w.U32(1);                                       // OEM revision
        w.Ascii("VMM", 4);                              // creator
        w.U32(1);
        body();
        w.SetU32(start + LengthAt, (uint)(w.Length - start));
        w.Checksum(start + ChecksumAt, start, w.Length);
    }

    /// <summary>A generic address structure for I/O ports.</summary>
    public static void PortAddress(TableWriter w, int port, int bits, int accessBytes)
    {
        w.U8(1);                                        // system I/O
        w.U8(bits);
        w.U8(0);
        w.U8(accessBytes switch { 1 => 1, 2 => 2, _ => 3 });
        w.U64((ulong)port);
    }

    /// <summary>A generic address structure of zeros: not there.</summary>
    public static void NoAddress(TableWriter w) => w.Zeros(12);
}

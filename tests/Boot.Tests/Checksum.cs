namespace Vmm.Boot.Tests;

/// <summary>The checksum of ACPI and MP tables.</summary>
internal static class Checksum
{
    /// <summary>The sum of all bytes modulo 256: 0 where the table's own checksum is right.</summary>
    public static int Of(ReadOnlySpan<byte> bytes)
    {
        int sum = 0;
        foreach (byte value in bytes)
        {
            sum += value;
        }

        return sum & 0xff;
    }
}

using System.Runtime.InteropServices;
using Vmm.Devices.Memory;

namespace Vmm.Boot;

/// <summary>The GDT at <see cref="Layout.Gdt"/> and the segments that are loaded from it. The selectors are those
/// of the Linux boot protocol; the other protocols allow any.</summary>
internal static class GlobalDescriptorTable
{
    // boot.rst, "64-bit Boot Protocol": __BOOT_CS and __BOOT_DS.
    private const ushort CodeSelector = 0x10;
    private const ushort DataSelector = 0x18;
    private const ushort TssSelector = 0x20;

    // Intel SDM volume 3, table 3-1 and 3-2: execute/read accessed, read/write accessed, busy TSS. Accessed and busy
    // already, because VM entry wants them so.
    private const byte CodeType = 11;
    private const byte DataType = 3;
    private const byte TssType = 11;

    private const int Entries = 6; // the 64-bit TSS descriptor takes two

    public static EntrySegment Code64 => new(0, uint.MaxValue, CodeSelector, CodeType, Db: 0, S: 1, L: 1, G: 1);
    public static EntrySegment Code32 => new(0, uint.MaxValue, CodeSelector, CodeType, Db: 1, S: 1, L: 0, G: 1);
    public static EntrySegment Data => new(0, uint.MaxValue, DataSelector, DataType, Db: 1, S: 1, L: 0, G: 1);

    /// <summary>Base 0 and limit 0x67, as PVH wants it; never used to switch a stack.</summary>
    public static EntrySegment Tss => new(0, 0x67, TssSelector, TssType, Db: 0, S: 0, L: 0, G: 0);

    /// <summary>Writes the table.</summary>
    /// <returns>Its limit: the last offset in bytes.</returns>
    public static ushort Write(GuestMemory memory, in EntrySegment code)
    {
        Span<ulong> table = stackalloc ulong[Entries];
        table.Clear();
        Set(table, code);
        Set(table, Data);
        Set(table, Tss);
        ReadOnlySpan<byte> bytes = MemoryMarshal.AsBytes(table);
        memory.Write(new GuestAddress(Layout.Gdt), bytes);
        return (ushort)(bytes.Length - 1);
    }

    /// <summary>Packs a segment into the descriptor it would be loaded from (Intel SDM volume 3, figure 3-8). All
    /// bases here are below 16 MiB.</summary>
    private static void Set(Span<ulong> table, in EntrySegment segment)
    {
        ulong limit = segment.G == 1 ? segment.Limit >> 12 : segment.Limit;
        table[segment.Selector / 8] =
            (limit & 0xffff)
            | (segment.Base & 0xff_ffff) << 16
            | (ulong)segment.Type << 40
            | (ulong)segment.S << 44
            | (ulong)segment.Dpl << 45
            | (ulong)segment.Present << 47
            | (limit >> 16 & 0xf) << 48
            | (ulong)segment.L << 53
            | (ulong)segment.Db << 54
            | (ulong)segment.G << 55;
    }
}

using System.Numerics;
using System.Runtime.InteropServices;
using Vmm.Boot.Kaslr;

namespace Vmm.Boot.Tests.Kaslr;

public sealed class RelocationTableTests
{
    private const ulong LinkedStart = 0xffff_ffff_8100_0000;
    private const int First = unchecked((int)0x8100_0000);
    private const int ImageLength = 0x1000;

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public void Relocations_agree_with_the_kernels_own_way_of_reading_them(bool hasInverse)
    {
        var random = new Random(21);
        for (int round = 0; round < 60; round++)
        {
            byte[] image = new byte[ImageLength];
            random.NextBytes(image);
            int[] table = [0, .. Entries(random), 0, .. hasInverse ? [.. Entries(random), 0] : Array.Empty<int>(), .. Entries(random)];
            byte[] payload = [.. MadeUp.Vmlinux(), .. MemoryMarshal.AsBytes<int>(table)];
            ulong offset = (ulong)random.Next(512) << 21;

            byte[] expected = SlowModel(payload, image, offset, hasInverse);
            Assert.Null(RelocationTable.Find(payload, out RelocationTable found));
            Assert.Equal(table.Count(word => word != 0), found.Count);
            Assert.Equal(MadeUp.Vmlinux().Length, found.Offset);
            Assert.Null(found.Apply(image, LinkedStart, offset));
            Assert.Equal(expected, image);
        }
    }

    [Theory]
    [InlineData(0)]
    [InlineData(1)]
    [InlineData(2)]
    public void A_relocation_must_lie_within_the_kernel(int kind)
    {
        int size = kind == 0 ? 8 : 4;
        foreach (int inside in new[] { 0, 1, ImageLength - size })
        {
            Assert.Null(Apply(kind, First + inside));
        }

        foreach (int outside in new[] { ImageLength - size + 1, ImageLength, -1, -4, int.MaxValue, unchecked(int.MaxValue - First) })
        {
            Assert.Equal("has a relocation that points outside the kernel", Apply(kind, unchecked(First + outside)));
        }

        Assert.NotNull(Apply(kind, First, imageLength: 0));
        Assert.NotNull(Apply(kind, First, imageLength: size - 1));
        Assert.Null(Apply(kind, First, imageLength: size));
    }

    [Fact]
    public void A_vmlinux_with_nothing_behind_it_has_no_relocations()
    {
        Assert.Null(RelocationTable.Find(MadeUp.Vmlinux(), out RelocationTable table));
        Assert.Equal(0, table.Count);
    }

    [Fact]
    public void Section_headers_count_as_part_of_the_vmlinux()
    {
        byte[] elf = MadeUp.Vmlinux();
        var sections = new Elf64_Shdr[]
        {
            new() { sh_type = 0, sh_offset = ulong.MaxValue, sh_size = ulong.MaxValue },
            new() { sh_type = 8, sh_offset = 0x100, sh_size = ulong.MaxValue }, // .bss
            new() { sh_type = 1, sh_offset = (ulong)elf.Length + 192, sh_size = 16 },
        };
        byte[] whole = [.. elf.With(40, (ulong)elf.Length).With(60, (ushort)3), .. MemoryMarshal.AsBytes<Elf64_Shdr>(sections), .. new byte[16]];
        byte[] payload = [.. whole, .. MemoryMarshal.AsBytes<int>([0, First, 0, First, 0, First])];
        Assert.Null(RelocationTable.Find(payload, out RelocationTable table));
        Assert.Equal((whole.Length, 1, 1, 1), (table.Offset, table.Relocations64.Length, table.Inverse32.Length, table.Relocations32.Length));

        // Sections, or their headers, outside of the file.
        Assert.NotNull(RelocationTable.Find(whole.AsSpan(0, whole.Length - 1), out _));
        Assert.NotNull(RelocationTable.Find(payload.With(60, ushort.MaxValue), out _));
        Assert.NotNull(RelocationTable.Find(payload.With(40, ulong.MaxValue - 10), out _));
        Assert.NotNull(RelocationTable.Find(payload.With(32, ulong.MaxValue - 10), out _));
        Assert.NotNull(RelocationTable.Find(payload.AsSpan(0, 63), out _));
    }

    [Theory]
    [InlineData(1)]
    [InlineData(0)]
    [InlineData(First)]
    [InlineData(0, First)]
    [InlineData(0, First, First)]
    [InlineData(First, 0, First)]
    [InlineData(0, First, 0, First, 0, First, 0, First)]
    [InlineData(0, 0, 0, 0)]
    public void A_table_of_another_form_is_an_error(params int[] words)
    {
        byte[] payload = [.. MadeUp.Vmlinux(), .. MemoryMarshal.AsBytes<int>(words)];
        Assert.Equal("has a relocation table of an unknown form behind its vmlinux", RelocationTable.Find(payload, out _));
    }

    [Fact]
    public void A_table_that_is_cut_within_an_entry_is_an_error()
    {
        byte[] payload = [.. MadeUp.Vmlinux(), .. MemoryMarshal.AsBytes<int>([0, 0, 0, First])];
        Assert.NotNull(RelocationTable.Find(payload.AsSpan(0, payload.Length - 1), out _));
    }

    [Fact]
    public void A_million_damaged_tables_are_applied_or_refused()
    {
        byte[] elf = MadeUp.Elf64(0x100_0000, new MadeUp.Part(0x100_0000, 0x40, 0x40));
        byte[] good = [.. elf, .. MemoryMarshal.AsBytes<int>([0, First + 8, First + 16, 0, First + 4, 0, First, First + 60])];
        byte[] bad = new byte[good.Length];
        byte[] image = new byte[0x40];
        var random = new Random(31);
        int applied = 0;
        long before = GC.GetAllocatedBytesForCurrentThread();
        for (int i = 0; i < 1_000_000; i++)
        {
            good.CopyTo(bad, 0);
            int at = random.Next(4) == 0 ? random.Next(bad.Length) : elf.Length + random.Next(good.Length - elf.Length);
            bad[at] = (byte)random.Next(256);
            int length = random.Next(4) == 0 ? random.Next(bad.Length + 1) : bad.Length;
            if (RelocationTable.Find(bad.AsSpan(0, length), out RelocationTable table) is null
                && table.Apply(image, LinkedStart, 0x1234_0000_0020_0000) is null)
            {
                applied++;
            }
        }

        Assert.InRange(GC.GetAllocatedBytesForCurrentThread() - before, 0, 16 << 10);
        Assert.InRange(applied, 10_000, 900_000);
    }

    /// <summary>Overlapping ones, which no linker makes, would depend on the order.</summary>
    private static int[] Entries(Random random)
    {
        int[] entries = new int[random.Next(40)];
        for (int i = 0; i < entries.Length; i++)
        {
            entries[i] = First + 3 + (8 * random.Next((ImageLength / 8) - 1));
        }

        return entries;
    }

    private static string? Apply(int kind, int entry, int imageLength = ImageLength)
    {
        int[] table = kind switch { 0 => [0, entry, 0, 0], 1 => [0, 0, entry, 0], _ => [0, 0, 0, entry] };
        byte[] payload = [.. MadeUp.Vmlinux(), .. MemoryMarshal.AsBytes<int>(table)];
        Assert.Null(RelocationTable.Find(payload, out RelocationTable found));
        return found.Apply(new byte[imageLength], LinkedStart, 0x20_0000);
    }

    /// <summary>As handle_relocations of Linux: backwards from the end, byte by byte, in numbers without bounds.</summary>
    private static byte[] SlowModel(byte[] payload, byte[] image, ulong offset, bool hasInverse)
    {
        byte[] result = [.. image];
        int at = payload.Length;
        int Next()
        {
            at -= 4;
            return BitConverter.ToInt32(payload, at);
        }

        var kinds = new List<(int Size, int Sign)> { (4, 1), (8, 1) };
        if (hasInverse)
        {
            kinds.Insert(1, (4, -1));
        }

        foreach ((int size, int sign) in kinds)
        {
            for (int entry = Next(); entry != 0; entry = Next())
            {
                int place = (int)((BigInteger)entry - First);
                BigInteger value = 0;
                for (int i = size - 1; i >= 0; i--)
                {
                    value = (value * 256) + result[place + i];
                }

                value += sign * (BigInteger)offset;
                for (int i = 0; i < size; i++)
                {
                    BigInteger rest = ((value % 256) + 256) % 256;
                    result[place + i] = (byte)rest;
                    value = (value - rest) / 256;
                }
            }
        }

        return result;
    }
}

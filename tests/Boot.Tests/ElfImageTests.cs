using static Vmm.Boot.Tests.MadeUp;

namespace Vmm.Boot.Tests;

public sealed class ElfImageTests
{
    private const int SecondProgram = 64 + 56;

    [Fact]
    public void A_good_image_is_understood()
    {
        using KernelImage kernel = Open(Vmlinux());
        Assert.Equal(KernelKind.Elf64, kernel.Kind);
        ElfImage elf = kernel.Elf!;
        Assert.True(elf.Is64Bit);
        Assert.Equal(0x100_0010u, elf.Entry);
        Assert.Equal(0x100_0000u, elf.Start.Value);
        Assert.Equal(0x120_3000u, elf.End.Value);
        Assert.Equal(2, elf.Segments.Length);
        Assert.Equal(0xffff_ffff_8120_0000, elf.Segments[1].VirtualAddress);
    }

    [Fact]
    public void Segments_are_sorted_and_empty_ones_left_out()
    {
        Part[] parts = [new Part(0x200_0000, 16, 16), new Part(0x200_0008, 0, 0), new Part(0x100_0000, 4, 8)];
        byte[] file = Elf64(0x200_0000, parts);
        using KernelImage kernel = Open(file);
        ElfSegment[] segments = kernel.Elf!.Segments.ToArray();
        Assert.Equal([0x100_0000UL, 0x200_0000UL], segments.Select(segment => segment.PhysicalAddress));
    }

    [Fact]
    public void A_32_bit_image_is_read_into_the_same_shape()
    {
        using KernelImage kernel = Open(Elf32(0x10_0004, new Part(0x10_0000, 0x20, 0x40)));
        Assert.Equal(KernelKind.Elf32, kernel.Kind);
        Assert.False(kernel.Elf!.Is64Bit);
        Assert.Equal(new ElfSegment(52 + 32, 0x20, 0x10_0000, 0x10_0000, 0x40), kernel.Elf.Segments[0]);
    }

    [Fact]
    public void Cut_at_any_byte_it_is_refused()
    {
        byte[] whole = Vmlinux();
        for (int length = 1; length < whole.Length; length++)
        {
            Wrong(whole[..length]);
        }

        byte[] narrow = Elf32(0x10_0004, new Part(0x10_0000, 0x20, 0x40), new Part(0x20_0000, 0x20, 0x40));
        for (int length = 1; length < narrow.Length; length++)
        {
            Wrong(narrow[..length]);
        }
    }

    [Theory]
    [InlineData(4, 1, 1, "class 1 for machine 62")]
    [InlineData(4, 1, 3, "class 3 for machine 62")]
    [InlineData(5, 1, 2, "another processor")] // big-endian
    [InlineData(6, 1, 0, "unknown version")]
    [InlineData(16, 2, 1, "type 1")] // a relocatable object
    [InlineData(18, 2, 183, "machine 183")] // arm64
    [InlineData(18, 2, 3, "class 2 for machine 3")]
    [InlineData(20, 4, 2, "unknown version")]
    [InlineData(24, 8, 0xff_ffff, "entry point 0xffffff")]
    [InlineData(24, 8, 0x120_3000, "entry point")]
    [InlineData(24, 8, -1, "entry point")]
    [InlineData(32, 8, 0x10000, "cut short in its program headers")]
    [InlineData(32, 8, -8, "cut short in its program headers")]
    [InlineData(54, 2, 32, "program headers of 32 bytes")]
    [InlineData(56, 2, 0, "0 program headers")]
    [InlineData(56, 2, 129, "129 program headers")]
    [InlineData(56, 2, 0xffff, "65535 program headers")]
    [InlineData(SecondProgram + 8, 8, 0x10000, "cut short in its segment")] // p_offset
    [InlineData(SecondProgram + 8, 8, -1, "cut short in its segment")]
    [InlineData(SecondProgram + 24, 8, 0x100_07ff, "overlap at 0x10007ff")] // p_paddr
    [InlineData(SecondProgram + 24, 8, 0x100_0000, "overlap")]
    [InlineData(SecondProgram + 24, 8, 0xff_ffff, "overlap")]
    [InlineData(SecondProgram + 24, 8, -4096, "past the end of all addresses")]
    [InlineData(SecondProgram + 32, 8, 0x3001, "more bytes in the file than in memory")] // p_filesz
    [InlineData(SecondProgram + 32, 8, -1, "more bytes in the file than in memory")]
    [InlineData(SecondProgram + 40, 8, -1, "past the end of all addresses")] // p_memsz
    public void Absurd_values_are_refused_by_name(int offset, int size, long value, string named)
    {
        byte[] file = Vmlinux();
        BitConverter.GetBytes(value)[..size].CopyTo(file, offset);
        Assert.Contains(named, Wrong(file), StringComparison.Ordinal);
    }

    [Fact]
    public void An_image_with_nothing_to_load_is_refused() =>
        Assert.Contains("no segment", Wrong(Elf64(0, new Part(0x100_0000, 4, 4, Type: 2))), StringComparison.Ordinal);

    [Fact]
    public void Notes_have_Linux_and_the_PVH_entry()
    {
        byte[] notes =
        [
            .. Note("GNU", 3, 1, 2, 3, 4, 5), .. Note("Linux", 0x100, 0),
            .. Note("Xen", 18, 0, 6, 0, 1, 0, 0, 0, 0), .. Note("Xen", 17, 1, 2, 3, 4),
        ];
        using KernelImage kernel = Open(Vmlinux(notes));
        Assert.Equal(new ElfNotes(IsLinux: true, PvhEntry: 0x100_0600, Damage: null), kernel.Elf!.Notes);
    }

    [Fact]
    public void A_PVH_entry_note_may_have_four_bytes()
    {
        using KernelImage kernel = Open(Vmlinux(Note("Xen", 18, 0x10, 0, 0, 1)));
        Assert.Equal(0x100_0010u, kernel.Elf!.Notes.PvhEntry);
    }

    [Fact]
    public void Damaged_notes_are_remembered_and_do_not_spoil_the_image()
    {
        byte[] good = Note("Xen", 18, 0, 6, 0, 1, 0, 0, 0, 0);
        string?[] damages =
        [
            Damage(good.With(0, 0xffff_ffff)), Damage(good.With(4, 0xffff_ffff)), Damage(good.With(4, 9u)),
            Damage(good.With(4, 3u)), Damage(good.With(20, 1u)), Damage(new byte[12 * 2000]),
        ];
        Assert.All(damages, Assert.NotNull);
        Assert.Contains("more than 1024 notes", damages[^1], StringComparison.Ordinal);

        byte[] outside = Vmlinux(good);
        outside = outside.With(64 + 56 + 56 + 8, ulong.MaxValue); // p_offset of the notes
        using KernelImage kernel = Open(outside);
        Assert.Equal("is cut short in its notes", kernel.Elf!.Notes.Damage);

        static string? Damage(byte[] notes)
        {
            using KernelImage kernel = Open(Vmlinux(notes));
            Assert.Null(kernel.Elf!.Notes.PvhEntry);
            return kernel.Elf.Notes.Damage;
        }
    }
}

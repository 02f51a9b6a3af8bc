namespace Vmm.Boot;

/// <summary>What an ELF kernel's notes (System V ABI, chapter 5, "Note Section") say about how it is started.
/// Damaged notes are an error only where a note is needed, not for every image.</summary>
/// <param name="IsLinux">Is there a note whose owner is "Linux"? Every Linux since 4.19 has one.</param>
/// <param name="PvhEntry">XEN_ELFNOTE_PHYS32_ENTRY: the physical address of the 32-bit PVH entry.</param>
/// <param name="Damage">What is wrong with the notes, or null.</param>
public readonly record struct ElfNotes(bool IsLinux, uint? PvhEntry, string? Damage)
{
    // <xen/interface/elfnote.h>
    private const uint XEN_ELFNOTE_PHYS32_ENTRY = 18;

    // A kernel has a handful; bounds the work for a file full of empty notes.
    private const int MostNotes = 1024;

    internal static ElfNotes Read(ImageSource source, ReadOnlySpan<Elf64_Phdr> programs)
    {
        var notes = default(ElfNotes);
        int budget = MostNotes;
        foreach (ref readonly Elf64_Phdr program in programs)
        {
            if (program.p_type == Elf.PT_NOTE)
            {
                notes = notes.ReadSegment(source, program, ref budget);
            }
        }

        return notes;
    }

    private ElfNotes ReadSegment(ImageSource source, in Elf64_Phdr program, ref int budget)
    {
        const string CutShort = "is cut short in its notes";
        ElfNotes notes = this;
        ulong length = (ulong)source.Length;
        if (program.p_filesz > length || program.p_offset > length - program.p_filesz)
        {
            return notes with { Damage = CutShort };
        }

        // Notes are padded to 4 bytes, but to 8 in segments that are so aligned (gABI, as GNU tools read it).
        ulong align = program.p_align == 8 ? 8u : 4u;
        ulong position = program.p_offset, end = program.p_offset + program.p_filesz;
        Span<byte> name = stackalloc byte[6];
        while (end - position >= 12)
        {
            if (budget-- == 0)
            {
                return notes with { Damage = $"has more than {MostNotes} notes" };
            }

            if (!source.TryRead((long)position, out Elf_Nhdr note))
            {
                return notes with { Damage = CutShort };
            }

            // Sizes are of 32 bits, so none of these sums can wrap.
            ulong descriptor = Align(position + 12 + note.n_namesz, program.p_offset, align);
            ulong next = Align(descriptor + note.n_descsz, program.p_offset, align);
            if (descriptor + note.n_descsz > end)
            {
                return notes with { Damage = "has a note that reaches past its segment" };
            }

            int nameLength = (int)Math.Min(note.n_namesz, (uint)name.Length);
            if (!source.TryRead((long)position + 12, name[..nameLength]))
            {
                return notes with { Damage = CutShort };
            }

            notes = notes.Take(source, note, name[..nameLength], (long)descriptor);
            position = Math.Min(next, end);
        }

        return notes;
    }

    private ElfNotes Take(ImageSource source, in Elf_Nhdr note, ReadOnlySpan<byte> name, long descriptor)
    {
        if (note.n_namesz == 6 && name.SequenceEqual("Linux\0"u8))
        {
            return this with { IsLinux = true };
        }

        if (note.n_namesz != 4 || !name.SequenceEqual("Xen\0"u8) || note.n_type != XEN_ELFNOTE_PHYS32_ENTRY)
        {
            return this;
        }

        // Xen's pvh.pandoc wants 4 bytes; a 64-bit Linux writes 8.
        ulong entry = 0;
        bool read = note.n_descsz switch
        {
            8 => source.TryRead(descriptor, out entry),
            4 => ReadNarrow(source, descriptor, out entry),
            _ => false,
        };
        return read && entry <= uint.MaxValue
            ? this with { PvhEntry = (uint)entry }
            : this with { Damage = "has a damaged PVH entry note" };
    }

    private static bool ReadNarrow(ImageSource source, long offset, out ulong entry)
    {
        bool read = source.TryRead(offset, out uint narrow);
        entry = narrow;
        return read;
    }

    private static ulong Align(ulong position, ulong start, ulong align) =>
        start + ((position - start + align - 1) & ~(align - 1));
}

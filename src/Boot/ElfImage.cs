using System.Runtime.InteropServices;
using Vmm.Devices.Memory;

namespace Vmm.Boot;

/// <summary>One PT_LOAD segment.</summary>
/// <param name="FileOffset">Where its bytes are in the file; <paramref name="FileSize"/> of them are there.</param>
/// <param name="FileSize">Bytes to copy; at most <paramref name="MemorySize"/>, zeros follow.</param>
/// <param name="VirtualAddress">Where the program runs it.</param>
/// <param name="PhysicalAddress">Where it is loaded.</param>
/// <param name="MemorySize">Bytes in memory, at least 1; address plus size do not pass 2^64.</param>
public readonly record struct ElfSegment(
    long FileOffset, ulong FileSize, ulong VirtualAddress, ulong PhysicalAddress, ulong MemorySize)
{
    /// <summary>First physical address behind it.</summary>
    public ulong PhysicalEnd => PhysicalAddress + MemorySize;
}

/// <summary>An ELF executable for x86 (System V ABI, chapter 4), as far as loading it into memory needs it: an
/// uncompressed Linux (vmlinux) or another kernel.</summary>
public sealed class ElfImage
{
    /// <summary>Most program headers that are read; a vmlinux has five, the largest kernels a dozen.</summary>
    internal const int MostProgramHeaders = 128;

    private readonly ElfSegment[] _segments;

    private ElfImage(bool is64Bit, ulong entry, ElfSegment[] segments, ElfNotes notes)
    {
        Is64Bit = is64Bit;
        Entry = entry;
        _segments = segments;
        Notes = notes;
    }

    /// <summary>Is it ELF64 for x86-64 (else ELF32 for i386)?</summary>
    public bool Is64Bit { get; }

    /// <summary>e_entry: for kernels a physical address, within a segment.</summary>
    public ulong Entry { get; }

    /// <summary>The segments to load, sorted by physical address, without overlap; at least one.</summary>
    public ReadOnlySpan<ElfSegment> Segments => _segments;

    /// <summary>The lowest physical address that is loaded.</summary>
    public GuestAddress Start => new(_segments[0].PhysicalAddress);

    /// <summary>First physical address behind all segments.</summary>
    public GuestAddress End => new(_segments[^1].PhysicalEnd);

    /// <summary>What the note segments say.</summary>
    public ElfNotes Notes { get; }

    /// <summary>An image of one segment, as of an ELF32 file, for a file in another format.</summary>
    internal static ElfImage OfOneSegment(in ElfSegment segment, ulong entry) =>
        new(is64Bit: false, entry, [segment], default);

    internal static bool Claims(ImageSource source) => source.TryRead(0, out uint magic) && magic == Elf.Magic;

    /// <returns>What is wrong with the image, or null and the image.</returns>
    internal static string? Parse(ImageSource source, out ElfImage? image)
    {
        image = null;
        if (ReadHeader(source, out Elf64_Ehdr header) is string wrongHeader)
        {
            return wrongHeader;
        }

        if (header.e_phnum is 0 or > MostProgramHeaders)
        {
            return $"has {header.e_phnum} program headers: it is no kernel";
        }

        Span<Elf64_Phdr> all = stackalloc Elf64_Phdr[MostProgramHeaders];
        Span<Elf64_Phdr> programs = all[..header.e_phnum];
        if (ReadProgramHeaders(source, header, programs) is string wrongPrograms)
        {
            return wrongPrograms;
        }

        if (ReadSegments(source, programs, out ElfSegment[] segments) is string wrongSegments)
        {
            return wrongSegments;
        }

        if (!Holds(segments, header.e_entry))
        {
            return $"has its entry point 0x{header.e_entry:x} in none of its segments";
        }

        ElfNotes notes = ElfNotes.Read(source, programs);
        image = new ElfImage(header.e_class == Elf.ELFCLASS64, header.e_entry, segments, notes);
        return null;
    }

    /// <summary>Is the address within what a segment loads?</summary>
    internal bool Holds(ulong physicalAddress) => Holds(_segments, physicalAddress);

    private static bool Holds(ElfSegment[] segments, ulong physicalAddress)
    {
        foreach (ref readonly ElfSegment segment in segments.AsSpan())
        {
            if (physicalAddress - segment.PhysicalAddress < segment.MemorySize)
            {
                return true;
            }
        }

        return false;
    }

    /// <summary>Reads either class into the wider structure.</summary>
    private static string? ReadHeader(ImageSource source, out Elf64_Ehdr header)
    {
        const string CutShort = "is cut short in its ELF header";
        header = default;
        if (!source.TryRead(0, out Elf32_Ehdr narrow))
        {
            return CutShort;
        }

        ushort machine = narrow.e_machine; // at the same offset in both classes
        if (narrow.e_data != Elf.ELFDATA2LSB || machine is not (Elf.EM_X86_64 or Elf.EM_386))
        {
            return $"is an ELF file for another processor (machine {machine}): give a kernel for x86-64";
        }

        if (narrow.e_class != (machine == Elf.EM_X86_64 ? Elf.ELFCLASS64 : Elf.ELFCLASS32))
        {
            return $"is an ELF file of class {narrow.e_class} for machine {machine}: give a kernel for x86-64";
        }

        if (narrow.e_ident_version != Elf.EV_CURRENT || narrow.e_version != Elf.EV_CURRENT)
        {
            return "is an ELF file of an unknown version";
        }

        if (narrow.e_type is not (Elf.ET_EXEC or Elf.ET_DYN))
        {
            return $"is an ELF file of type {narrow.e_type}, not an executable: give the linked kernel";
        }

        if (narrow.e_class == Elf.ELFCLASS64)
        {
            return source.TryRead(0, out header) ? null : CutShort;
        }

        header.e_class = narrow.e_class;
        header.e_entry = narrow.e_entry;
        header.e_phoff = narrow.e_phoff;
        header.e_phentsize = narrow.e_phentsize;
        header.e_phnum = narrow.e_phnum;
        return null;
    }

    private static string? ReadProgramHeaders(ImageSource source, in Elf64_Ehdr header, Span<Elf64_Phdr> programs)
    {
        const string CutShort = "is cut short in its program headers";
        bool is64Bit = header.e_class == Elf.ELFCLASS64;
        int size = is64Bit ? 56 : 32;
        if (header.e_phentsize != size)
        {
            return $"has program headers of {header.e_phentsize} bytes instead of {size}";
        }

        if (header.e_phoff > (ulong)source.Length)
        {
            return CutShort;
        }

        if (is64Bit)
        {
            return source.TryRead((long)header.e_phoff, MemoryMarshal.AsBytes(programs))
                ? null : CutShort;
        }

        for (int i = 0; i < programs.Length; i++)
        {
            if (!source.TryRead((long)header.e_phoff + (i * size), out Elf32_Phdr narrow))
            {
                return CutShort;
            }

            programs[i] = new Elf64_Phdr
            {
                p_type = narrow.p_type,
                p_flags = narrow.p_flags,
                p_offset = narrow.p_offset,
                p_vaddr = narrow.p_vaddr,
                p_paddr = narrow.p_paddr,
                p_filesz = narrow.p_filesz,
                p_memsz = narrow.p_memsz,
                p_align = narrow.p_align,
            };
        }

        return null;
    }

    private static string? ReadSegments(
        ImageSource source, ReadOnlySpan<Elf64_Phdr> programs, out ElfSegment[] segments)
    {
        segments = [];
        Span<ElfSegment> found = stackalloc ElfSegment[MostProgramHeaders];
        int count = 0;
        foreach (ref readonly Elf64_Phdr program in programs)
        {
            if (program.p_type != Elf.PT_LOAD || program.p_memsz == 0)
            {
                continue;
            }

            if (program.p_filesz > program.p_memsz)
            {
                return $"has a segment at 0x{program.p_paddr:x} with more bytes in the file than in memory";
            }

            if (program.p_filesz != 0 && !Within(program.p_offset, program.p_filesz, (ulong)source.Length))
            {
                return $"is cut short in its segment for 0x{program.p_paddr:x}";
            }

            if (!Within(program.p_paddr, program.p_memsz, ulong.MaxValue))
            {
                return $"has a segment at 0x{program.p_paddr:x} of 0x{program.p_memsz:x} bytes, "
                    + "past the end of all addresses";
            }

            found[count++] = new ElfSegment(
                (long)program.p_offset, program.p_filesz, program.p_vaddr, program.p_paddr, program.p_memsz);
        }

        found = found[..count];
        if (found.IsEmpty)
        {
            return "has no segment to load";
        }

        found.Sort((a, b) => a.PhysicalAddress.CompareTo(b.PhysicalAddress));
        for (int i = 1; i < found.Length; i++)
        {
            if (found[i].PhysicalAddress < found[i - 1].PhysicalEnd)
            {
                return $"has segments that overlap at 0x{found[i].PhysicalAddress:x}";
            }
        }

        segments = found.ToArray();
        return null;
    }

    private static bool Within(ulong offset, ulong count, ulong length) => count <= length && offset <= length - count;
}

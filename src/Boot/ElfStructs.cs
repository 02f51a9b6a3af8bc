using System.Runtime.InteropServices;

namespace Vmm.Boot;

// The structures of <elf.h> (System V ABI, chapters 4 and 5), with its names; a test lets the C compiler check them.

[StructLayout(LayoutKind.Sequential)]
internal struct Elf64_Ehdr
{
    public uint e_magic;
    public byte e_class;
    public byte e_data;
    public byte e_ident_version;
    public byte e_osabi;
    public ulong e_pad;
    public ushort e_type;
    public ushort e_machine;
    public uint e_version;
    public ulong e_entry;
    public ulong e_phoff;
    public ulong e_shoff;
    public uint e_flags;
    public ushort e_ehsize;
    public ushort e_phentsize;
    public ushort e_phnum;
    public ushort e_shentsize;
    public ushort e_shnum;
    public ushort e_shstrndx;
}

[StructLayout(LayoutKind.Sequential)]
internal struct Elf64_Phdr
{
    public uint p_type;
    public uint p_flags;
    public ulong p_offset;
    public ulong p_vaddr;
    public ulong p_paddr;
    public ulong p_filesz;
    public ulong p_memsz;
    public ulong p_align;
}

[StructLayout(LayoutKind.Sequential, Pack = 4)]
internal struct Elf32_Ehdr
{
    public uint e_magic;
    public byte e_class;
    public byte e_data;
    public byte e_ident_version;
    public byte e_osabi;
    public ulong e_pad;
    public ushort e_type;
    public ushort e_machine;
    public uint e_version;
    public uint e_entry;
    public uint e_phoff;
    public uint e_shoff;
    public uint e_flags;
    public ushort e_ehsize;
    public ushort e_phentsize;
    public ushort e_phnum;
    public ushort e_shentsize;
    public ushort e_shnum;
    public ushort e_shstrndx;
}

[StructLayout(LayoutKind.Sequential)]
internal struct Elf32_Phdr
{
    public uint p_type;
    public uint p_offset;
    public uint p_vaddr;
    public uint p_paddr;
    public uint p_filesz;
    public uint p_memsz;
    public uint p_flags;
    public uint p_align;
}

[StructLayout(LayoutKind.Sequential)]
internal struct Elf64_Shdr
{
    public uint sh_name;
    public uint sh_type;
    public ulong sh_flags;
    public ulong sh_addr;
    public ulong sh_offset;
    public ulong sh_size;
    public uint sh_link;
    public uint sh_info;
    public ulong sh_addralign;
    public ulong sh_entsize;
}

/// <summary>Elf64_Nhdr and Elf32_Nhdr are the same. Name and descriptor follow, each padded to 4 bytes.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct Elf_Nhdr
{
    public uint n_namesz;
    public uint n_descsz;
    public uint n_type;
}

internal static class Elf
{
    public const uint Magic = 0x464c_457f;
    public const byte ELFCLASS32 = 1;
    public const byte ELFCLASS64 = 2;
    public const byte ELFDATA2LSB = 1;
    public const ushort ET_EXEC = 2;
    public const ushort ET_DYN = 3;
    public const ushort EM_386 = 3;
    public const ushort EM_X86_64 = 62;
    public const uint EV_CURRENT = 1;
    public const uint PT_LOAD = 1;
    public const uint PT_NOTE = 4;
    public const uint SHT_NULL = 0;
    public const uint SHT_NOBITS = 8;
}

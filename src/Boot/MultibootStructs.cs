using System.Runtime.InteropServices;

namespace Vmm.Boot;

/// <summary>The Multiboot information structure (Multiboot 0.6.96, 3.3) up to boot_loader_name, the last field that
/// vmm sets.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct MultibootInfo
{
    public const uint Memory = 1 << 0;
    public const uint CommandLine = 1 << 2;
    public const uint Modules = 1 << 3;
    public const uint MemoryMap = 1 << 6;
    public const uint BootLoaderName = 1 << 9;

    public uint flags;
    public uint mem_lower;
    public uint mem_upper;
    public uint boot_device;
    public uint cmdline;
    public uint mods_count;
    public uint mods_addr;
    public uint syms0;
    public uint syms1;
    public uint syms2;
    public uint syms3;
    public uint mmap_length;
    public uint mmap_addr;
    public uint drives_length;
    public uint drives_addr;
    public uint config_table;
    public uint boot_loader_name;
}

/// <summary>One module (3.3, mods_addr).</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct MultibootModule
{
    public uint mod_start;
    public uint mod_end;
    public uint @string;
    public uint reserved;
}

/// <summary>One entry of the memory map (3.3, mmap_addr). Its types are those of the e820 map.</summary>
[StructLayout(LayoutKind.Sequential, Pack = 4)]
internal struct MultibootMmapEntry
{
    /// <summary>Bytes of the entry without this field.</summary>
    public uint size;
    public ulong base_addr;
    public ulong length;
    public uint type;
}

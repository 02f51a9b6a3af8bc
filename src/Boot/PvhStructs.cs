using System.Runtime.InteropServices;

namespace Vmm.Boot;

// The structures of Xen's public/arch-x86/hvm/start_info.h, with its names.

/// <summary>struct hvm_start_info, version 1.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct HvmStartInfo
{
    /// <summary>XEN_HVM_START_MAGIC_VALUE: "xEn3" with the highest bit of the "E" set.</summary>
    public const uint Magic = 0x336e_c578;

    public uint magic;
    public uint version;
    public uint flags;
    public uint nr_modules;
    public ulong modlist_paddr;
    public ulong cmdline_paddr;
    public ulong rsdp_paddr;
    public ulong memmap_paddr;
    public uint memmap_entries;
    public uint reserved;
}

/// <summary>struct hvm_modlist_entry.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct HvmModlistEntry
{
    public ulong paddr;
    public ulong size;
    public ulong cmdline_paddr;
    public ulong reserved;
}

/// <summary>struct hvm_memmap_table_entry. Its types are those of the e820 map.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct HvmMemmapTableEntry
{
    public ulong addr;
    public ulong size;
    public uint type;
    public uint reserved;
}

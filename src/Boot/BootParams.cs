using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;

namespace Vmm.Boot;

// The structures of <asm/bootparam.h>, with the header's own names; a test lets the C compiler check each offset.

/// <summary>The fields that vmm sets of struct boot_params, the "zero page" (Documentation/arch/x86/zero-page.rst).
/// </summary>
[StructLayout(LayoutKind.Explicit, Size = 4096)]
internal struct BootParams
{
    [FieldOffset(0x070)] public ulong acpi_rsdp_addr;
    [FieldOffset(0x0c0)] public uint ext_ramdisk_image;
    [FieldOffset(0x0c4)] public uint ext_ramdisk_size;
    [FieldOffset(0x0c8)] public uint ext_cmd_line_ptr;
    [FieldOffset(0x1e8)] public byte e820_entries;
    [FieldOffset(0x1ef)] public byte sentinel;
    [FieldOffset(0x1f1)] public SetupHeader hdr;
    [FieldOffset(0x2d0)] public E820Table e820_table;
}

/// <summary>struct boot_e820_entry.</summary>
[StructLayout(LayoutKind.Sequential, Pack = 1)]
internal struct BootE820Entry
{
    public ulong addr;
    public ulong size;
    public uint type;
}

/// <summary>boot_params.e820_table.</summary>
[InlineArray(MaxEntries)]
internal struct E820Table
{
    /// <summary>E820_MAX_ENTRIES_ZEROPAGE.</summary>
    public const int MaxEntries = 128;

    private BootE820Entry _first;
}

/// <summary>struct setup_data without its data.</summary>
[StructLayout(LayoutKind.Sequential, Pack = 1)]
internal struct SetupData
{
    public const uint SETUP_RNG_SEED = 9;

    public ulong next;
    public uint type;
    public uint len;
}

/// <summary>struct setup_header (Documentation/arch/x86/boot.rst, "Details of Header Fields"), which lies at offset
/// 0x1f1 of a bzImage and of boot_params alike.</summary>
[StructLayout(LayoutKind.Explicit, Size = 0x26c - 0x1f1)]
internal struct SetupHeader
{
    /// <summary>Where it lies in the file.</summary>
    public const int FileOffset = 0x1f1;

    /// <summary>"HdrS".</summary>
    public const uint Magic = 0x5372_6448;

    public const ushort BootFlag = 0xaa55;

    /// <summary>The oldest version that has xloadflags, and with it a 64-bit entry point: Linux 3.8.</summary>
    public const ushort OldestVersion = 0x020c;

    // loadflags
    public const byte LOADED_HIGH = 1 << 0;
    public const byte KASLR_FLAG = 1 << 1;

    // xloadflags
    public const ushort XLF_KERNEL_64 = 1 << 0;

    /// <summary>type_of_loader of a loader without an assigned number.</summary>
    public const byte LoaderUndefined = 0xff;

    [FieldOffset(0x1f1 - FileOffset)] public byte setup_sects;
    [FieldOffset(0x1f2 - FileOffset)] public ushort root_flags;
    [FieldOffset(0x1f4 - FileOffset)] public uint syssize;
    [FieldOffset(0x1f8 - FileOffset)] public ushort ram_size;
    [FieldOffset(0x1fa - FileOffset)] public ushort vid_mode;
    [FieldOffset(0x1fc - FileOffset)] public ushort root_dev;
    [FieldOffset(0x1fe - FileOffset)] public ushort boot_flag;
    [FieldOffset(0x200 - FileOffset)] public ushort jump;
    [FieldOffset(0x202 - FileOffset)] public uint header;
    [FieldOffset(0x206 - FileOffset)] public ushort version;
    [FieldOffset(0x208 - FileOffset)] public uint realmode_swtch;
    [FieldOffset(0x20c - FileOffset)] public ushort start_sys_seg;
    [FieldOffset(0x20e - FileOffset)] public ushort kernel_version;
    [FieldOffset(0x210 - FileOffset)] public byte type_of_loader;
    [FieldOffset(0x211 - FileOffset)] public byte loadflags;
    [FieldOffset(0x212 - FileOffset)] public ushort setup_move_size;
    [FieldOffset(0x214 - FileOffset)] public uint code32_start;
    [FieldOffset(0x218 - FileOffset)] public uint ramdisk_image;
    [FieldOffset(0x21c - FileOffset)] public uint ramdisk_size;
    [FieldOffset(0x220 - FileOffset)] public uint bootsect_kludge;
    [FieldOffset(0x224 - FileOffset)] public ushort heap_end_ptr;
    [FieldOffset(0x226 - FileOffset)] public byte ext_loader_ver;
    [FieldOffset(0x227 - FileOffset)] public byte ext_loader_type;
    [FieldOffset(0x228 - FileOffset)] public uint cmd_line_ptr;
    [FieldOffset(0x22c - FileOffset)] public uint initrd_addr_max;
    [FieldOffset(0x230 - FileOffset)] public uint kernel_alignment;
    [FieldOffset(0x234 - FileOffset)] public byte relocatable_kernel;
    [FieldOffset(0x235 - FileOffset)] public byte min_alignment;
    [FieldOffset(0x236 - FileOffset)] public ushort xloadflags;
    [FieldOffset(0x238 - FileOffset)] public uint cmdline_size;
    [FieldOffset(0x23c - FileOffset)] public uint hardware_subarch;
    [FieldOffset(0x240 - FileOffset)] public ulong hardware_subarch_data;
    [FieldOffset(0x248 - FileOffset)] public uint payload_offset;
    [FieldOffset(0x24c - FileOffset)] public uint payload_length;
    [FieldOffset(0x250 - FileOffset)] public ulong setup_data;
    [FieldOffset(0x258 - FileOffset)] public ulong pref_address;
    [FieldOffset(0x260 - FileOffset)] public uint init_size;
    [FieldOffset(0x264 - FileOffset)] public uint handover_offset;
    [FieldOffset(0x268 - FileOffset)] public uint kernel_info_offset;
}

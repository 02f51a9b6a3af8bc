using System.Numerics;
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;

namespace Vmm.Boot;

/// <summary>A bzImage as its setup header describes it (Documentation/arch/x86/boot.rst): a real-mode part of
/// setup_sects sectors, then the protected-mode part, which holds a decompressor and its payload.</summary>
public sealed class BzImage
{
    /// <summary>The 64-bit entry point, in bytes from the start of the protected-mode part (boot.rst, "64-bit Boot
    /// Protocol").</summary>
    public const ulong Entry64 = 0x200;

    private const int SectorSize = 512;

    // The end of cmdline_size: the last field that every loader needs. Those behind it may be missing or 0
    // (boot.rst marks few of them as obligatory): payload, setup_data, pref_address, init_size, handover_offset,
    // kernel_info_offset. The header does not grow any more: newer kernels publish what is new in kernel_info.
    private const int ShortestHeaderEnd = 0x23c;

    // What boot.rst says of a command line where the header gives no limit (protocol 2.05 and older).
    private const uint UsualCmdlineSize = 255;
    private const uint UsualInitrdAddrMax = 0x37ff_ffff;

    private BzImage(in SetupHeader header, long protectedModeOffset, long protectedModeLength)
    {
        Header = header;
        ProtectedModeOffset = protectedModeOffset;
        ProtectedModeLength = protectedModeLength;
    }

    /// <summary>Boot protocol, major version in the high byte: 0x020f is 2.15.</summary>
    public int ProtocolVersion => Header.version;

    /// <summary>Where the protected-mode part begins, in bytes from the start of the file.</summary>
    public long ProtectedModeOffset { get; }

    /// <summary>Bytes of the protected-mode part; a signature behind it is not counted.</summary>
    public long ProtectedModeLength { get; }

    /// <summary>Where the (mostly compressed) payload begins, in bytes from the start of the file.</summary>
    public long PayloadOffset => ProtectedModeOffset + Header.payload_offset;

    /// <summary>Bytes of payload. As Linux builds it, the last four hold the unpacked length. 0 where the kernel has none, as
    /// memtest86+: then it is started without unpacking.</summary>
    public long PayloadLength => Header.payload_length;

    /// <summary>Does it have a payload that vmm could unpack?</summary>
    public bool HasPayload => Header.payload_length != 0;

    /// <summary>May the kernel be loaded at another address than <see cref="PrefAddress"/>?</summary>
    public bool IsRelocatable => Header.relocatable_kernel != 0;

    /// <summary>To what the load address of a relocatable kernel must be aligned: a power of two.</summary>
    public ulong KernelAlignment => Header.kernel_alignment;

    /// <summary>The kernel's preferred load address; 1 MiB where it names none.</summary>
    public ulong PrefAddress => Header.pref_address != 0 ? Header.pref_address : Layout.HighMemory;

    /// <summary>Bytes of memory that the kernel needs from its runtime start on before it reads the map; its own length
    /// where it does not say.</summary>
    public ulong InitSize => Header.init_size != 0 ? Header.init_size : (ulong)ProtectedModeLength;

    /// <summary>Most bytes of command line, without the terminating zero.</summary>
    public uint CmdlineSize => Header.cmdline_size != 0 ? Header.cmdline_size : UsualCmdlineSize;

    /// <summary>The highest address that the last byte of an initramfs may have.</summary>
    public uint InitrdAddrMax => Header.initrd_addr_max != 0 ? Header.initrd_addr_max : UsualInitrdAddrMax;

    internal SetupHeader Header { get; }

    /// <summary>Does the file claim to be one? It may still be damaged.</summary>
    internal static bool Claims(ImageSource source) =>
        source.TryRead(0x202, out uint magic) && magic == SetupHeader.Magic;

    /// <returns>What is wrong with the image, or null and the image.</returns>
    internal static string? Parse(ImageSource source, out BzImage? image)
    {
        image = null;
        Span<byte> bytes = stackalloc byte[Unsafe.SizeOf<SetupHeader>()];
        bytes.Clear();
        if (!source.TryRead(SetupHeader.FileOffset, bytes[..(ShortestHeaderEnd - SetupHeader.FileOffset)]))
        {
            return "is cut short in its setup header";
        }

        // boot.rst, "64-bit Boot Protocol": the header ends where the jump at 0x200 leads. What is behind it is code.
        int end = 0x202 + bytes[0x201 - SetupHeader.FileOffset];
        int known = Math.Clamp(end, ShortestHeaderEnd, SetupHeader.FileOffset + bytes.Length) - SetupHeader.FileOffset;
        if (!source.TryRead(SetupHeader.FileOffset, bytes[..known]))
        {
            return "is cut short in its setup header";
        }

        SetupHeader header = MemoryMarshal.Read<SetupHeader>(bytes);
        if (CheckHeader(header, end) is string wrong)
        {
            return wrong;
        }

        int sectors = header.setup_sects == 0 ? 4 : header.setup_sects; // boot.rst, setup_sects: 0 means 4
        long offset = (sectors + 1L) * SectorSize;
        if (offset >= source.Length)
        {
            return $"has setup_sects {sectors}, which leaves no kernel in its {source.Length} bytes";
        }

        // syssize counts paragraphs of 16 bytes, the last of which need not be in the file.
        long declared = header.syssize * 16L;
        long length = Math.Min(declared, source.Length - offset);
        if (declared - length >= 16)
        {
            return $"is cut short: {source.Length - offset} bytes of kernel instead of {declared}";
        }

        if (CheckSizes(header, length) is string absurd)
        {
            return absurd;
        }

        image = new BzImage(header, offset, length);
        return null;
    }

    private static string? CheckHeader(in SetupHeader header, int end)
    {
        if (header.boot_flag != SetupHeader.BootFlag || header.header != SetupHeader.Magic)
        {
            return "has a damaged setup header";
        }

        if (header.version < SetupHeader.OldestVersion)
        {
            return $"speaks boot protocol {header.version >> 8}.{header.version & 0xff:d2}, "
                + "vmm needs 2.12 or newer (Linux 3.8)";
        }

        if (end < ShortestHeaderEnd)
        {
            return $"has a setup header that ends at 0x{end:x}, before its fields do";
        }

        if ((header.xloadflags & SetupHeader.XLF_KERNEL_64) == 0)
        {
            return "is a 32-bit kernel (no XLF_KERNEL_64): give a 64-bit one";
        }

        if ((header.loadflags & SetupHeader.LOADED_HIGH) == 0)
        {
            return "is a zImage, not a bzImage: build bzImage";
        }

        return null;
    }

    private static string? CheckSizes(in SetupHeader header, long length)
    {
        if (length <= (long)Entry64)
        {
            return $"has only {length} bytes of kernel, no 64-bit entry point";
        }

        // Both are 0 where there is no payload to name (boot.rst, "payload_offset": "if non-zero").
        bool namesPayload = header.payload_offset != 0 || header.payload_length != 0;
        if (namesPayload && (header.payload_length == 0 || header.payload_offset > length
            || header.payload_length > length - header.payload_offset))
        {
            return $"has its payload of {header.payload_length} bytes at {header.payload_offset}, "
                + $"outside its {length} bytes of kernel";
        }

        if (header.init_size != 0 && (header.init_size < length || header.init_size > Layout.LowMemoryEnd))
        {
            return $"has an absurd init_size of {header.init_size} bytes for {length} bytes of kernel";
        }

        // boot.rst, "kernel_alignment": of relocatable kernels.
        if (header.relocatable_kernel != 0
            && (!BitOperations.IsPow2(header.kernel_alignment) || header.kernel_alignment < Layout.PageSize))
        {
            return $"has an absurd kernel_alignment of 0x{header.kernel_alignment:x}";
        }

        // boot.rst, "pref_address": "if non-zero".
        if (header.pref_address != 0 && (header.pref_address < Layout.HighMemory
            || header.pref_address >= Layout.LowMemoryEnd || header.pref_address % Layout.PageSize != 0))
        {
            return $"has an absurd pref_address of 0x{header.pref_address:x}";
        }

        return null;
    }
}

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

    // handover_offset ends here: the last field of protocol 2.12. kernel_info_offset (2.15) may be missing. The
    // header does not grow any more: newer kernels publish what is new in kernel_info.
    private const int ShortestHeaderEnd = 0x268;

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

    /// <summary>Bytes of payload. As Linux builds it, the last four hold the unpacked length.</summary>
    public long PayloadLength => Header.payload_length;

    /// <summary>May the kernel be loaded at another address than <see cref="PrefAddress"/>?</summary>
    public bool IsRelocatable => Header.relocatable_kernel != 0;

    /// <summary>To what the load address of a relocatable kernel must be aligned: a power of two.</summary>
    public ulong KernelAlignment => Header.kernel_alignment;

    /// <summary>Where the kernel prefers to lie.</summary>
    public ulong PrefAddress => Header.pref_address;

    /// <summary>Bytes of memory that the kernel needs from its runtime start on before it reads the map.</summary>
    public ulong InitSize => Header.init_size;

    /// <summary>Most bytes of command line, without the terminating zero.</summary>
    public uint CmdlineSize => Header.cmdline_size;

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

        // boot.rst, "64-bit Boot Protocol": the header ends where the jump at 0x200 leads.
        int end = 0x202 + bytes[0x201 - SetupHeader.FileOffset];
        int known = Math.Min(end - SetupHeader.FileOffset, bytes.Length);
        if (end >= ShortestHeaderEnd && !source.TryRead(SetupHeader.FileOffset, bytes[..known]))
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

        if (header.payload_length == 0 || header.payload_offset > length
            || header.payload_length > length - header.payload_offset)
        {
            return $"has its payload of {header.payload_length} bytes at {header.payload_offset}, "
                + $"outside its {length} bytes of kernel";
        }

        if (header.init_size < length || header.init_size > Layout.LowMemoryEnd)
        {
            return $"has an absurd init_size of {header.init_size} bytes for {length} bytes of kernel";
        }

        if (!BitOperations.IsPow2(header.kernel_alignment) || header.kernel_alignment < Layout.PageSize)
        {
            return $"has an absurd kernel_alignment of 0x{header.kernel_alignment:x}";
        }

        if (header.pref_address < Layout.HighMemory || header.pref_address >= Layout.LowMemoryEnd
            || header.pref_address % Layout.PageSize != 0)
        {
            return $"has an absurd pref_address of 0x{header.pref_address:x}";
        }

        return null;
    }
}

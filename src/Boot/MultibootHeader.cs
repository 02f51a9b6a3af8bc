using System.Runtime.InteropServices;

namespace Vmm.Boot;

/// <summary>The multiboot header of a kernel (Multiboot 0.6.96, 3.1): 4-byte aligned within the first 8192 bytes of
/// the file.</summary>
/// <param name="Flat">What the address fields (3.1.3, the "a.out kludge") want loaded, whatever else the file is: one
/// segment; or null if they are not there.</param>
public sealed record MultibootHeader(ElfImage? Flat)
{
    /// <summary>Flag: modules are to be page-aligned. They always are.</summary>
    public const uint PageAlign = 1 << 0;

    /// <summary>Flag: memory sizes are to be given. They always are.</summary>
    public const uint MemoryInfo = 1 << 1;

    /// <summary>Flag: a video mode is asked for. There is no screen.</summary>
    public const uint VideoMode = 1 << 2;

    /// <summary>Flag: the address fields are there and to be used.</summary>
    public const uint AddressFields = 1 << 16;

    internal const uint Magic = 0x1bad_b002;

    private const int SearchedBytes = 8192;
    private const int ShortLength = 12;
    private const int LongLength = 32;

    // 3.1.2: a loader that does not understand one of these bits must not load the kernel.
    private const uint Requirements = 0xffff;

    /// <returns>What is wrong with the header, or null; and the header, or null if there is none.</returns>
    internal static string? Find(ImageSource source, out MultibootHeader? header)
    {
        header = null;
        Span<byte> buffer = stackalloc byte[SearchedBytes];
        Span<byte> bytes = buffer[..(int)Math.Min(source.Length, SearchedBytes)];
        if (!source.TryRead(0, bytes))
        {
            return "became shorter while it was read";
        }

        ReadOnlySpan<uint> words = MemoryMarshal.Cast<byte, uint>(bytes);
        for (int at = words.IndexOf(Magic); at >= 0;)
        {
            ReadOnlySpan<uint> found = words[at..];
            if (found.Length < ShortLength / sizeof(uint))
            {
                return null; // three words are the least: this is something else
            }

            if (found[0] + found[1] + found[2] == 0)
            {
                return Parse(found, at * sizeof(uint), source.Length, out header);
            }

            // The number without its checksum means nothing.
            int next = found[1..].IndexOf(Magic);
            at = next < 0 ? -1 : at + 1 + next;
        }

        return null;
    }

    private static string? Parse(ReadOnlySpan<uint> words, int offset, long fileLength, out MultibootHeader? header)
    {
        header = null;
        uint flags = words[1];
        uint unknown = flags & Requirements & ~(PageAlign | MemoryInfo);
        if (unknown != 0)
        {
            return unknown == VideoMode
                ? "asks its multiboot loader for a video mode, and there is no screen: build it without"
                : $"asks its multiboot loader for the unknown features 0x{unknown:x}";
        }

        ElfImage? flat = null;
        if ((flags & AddressFields) != 0)
        {
            if (words.Length < LongLength / sizeof(uint))
            {
                return "is cut short in its multiboot header";
            }

            if (ParseAddresses(words[3..], offset, fileLength, out flat) is string wrong)
            {
                return wrong;
            }
        }

        header = new MultibootHeader(flat);
        return null;
    }

    private static string? ParseAddresses(
        ReadOnlySpan<uint> fields, int headerOffset, long fileLength, out ElfImage? flat)
    {
        flat = null;
        ulong headerAddress = fields[0], load = fields[1], loadEnd = fields[2], bssEnd = fields[3], entry = fields[4];
        if (headerAddress < load || headerAddress - load > (ulong)headerOffset)
        {
            return $"has a multiboot header at file offset {headerOffset} that says it is at 0x{headerAddress:x}, "
                + $"but the kernel begins at 0x{load:x}";
        }

        ulong offset = (ulong)headerOffset - (headerAddress - load);
        ulong inFile = (ulong)fileLength - offset;
        ulong fileSize = loadEnd == 0 ? inFile : loadEnd - load; // 0: text and data are all of the file
        if (loadEnd != 0 && (loadEnd < load || fileSize > inFile))
        {
            return $"has a multiboot header that wants 0x{load:x} to 0x{loadEnd:x} loaded from {inFile} bytes";
        }

        ulong end = bssEnd == 0 ? load + fileSize : bssEnd;
        if (end < load + fileSize)
        {
            return $"has a multiboot header whose bss ends at 0x{bssEnd:x}, before its data";
        }

        if (entry < load || entry >= end)
        {
            return $"has a multiboot header with its entry point 0x{entry:x} outside of what it loads";
        }

        flat = ElfImage.OfOneSegment(new ElfSegment((long)offset, fileSize, load, load, end - load), entry);
        return null;
    }
}

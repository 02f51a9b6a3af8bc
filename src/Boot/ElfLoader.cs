using Vmm.Devices.Memory;

namespace Vmm.Boot;

/// <summary>Where a kernel was put.</summary>
/// <param name="Start">Its first byte.</param>
/// <param name="End">First address behind all that it needs to start.</param>
/// <param name="Entry">Its entry point.</param>
internal readonly record struct Placement(GuestAddress Start, GuestAddress End, GuestAddress Entry);

/// <summary>Copies the segments of an ELF kernel to their physical addresses.</summary>
internal static class ElfLoader
{
    /// <param name="memory">All zeros where the segments go: what is not in the file is not written.</param>
    /// <param name="source">The bytes that <paramref name="elf"/> describes.</param>
    /// <param name="elf">The program headers.</param>
    /// <param name="displacement">Added, modulo 2^64, to every physical address.</param>
    /// <exception cref="BootException">A segment would lie outside low memory or below 1 MiB.</exception>
    public static Placement Load(GuestMemory memory, ImageSource source, ElfImage elf, ulong displacement)
    {
        ulong end = memory.Regions[0].Length;
        foreach (ref readonly ElfSegment segment in elf.Segments)
        {
            ulong start = segment.PhysicalAddress + displacement;
            if (start < Layout.HighMemory || start > end || segment.MemorySize > end - start)
            {
                throw new BootException($"kernel {source.Name}: its segment of {segment.MemorySize} bytes at 0x{start:x} lies "
                    + $"outside the memory from 0x{Layout.HighMemory:x} to 0x{end:x}: give more --mem or another kernel");
            }
        }

        foreach (ref readonly ElfSegment segment in elf.Segments)
        {
            source.CopyTo(
                segment.FileOffset, segment.FileSize, memory, new GuestAddress(segment.PhysicalAddress + displacement));
        }

        return new Placement(
            elf.Start + displacement, elf.End + displacement, new GuestAddress(elf.Entry + displacement));
    }
}

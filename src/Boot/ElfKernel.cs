using Vmm.Boot.Unpack;
using Vmm.Devices.Memory;

namespace Vmm.Boot;

/// <summary>Where a kernel was put.</summary>
/// <param name="Start">Its first byte.</param>
/// <param name="End">First address behind all that it needs to start.</param>
/// <param name="Entry">Its entry point.</param>
internal readonly record struct Placement(GuestAddress Start, GuestAddress End, GuestAddress Entry);

/// <summary>An ELF kernel in guest memory.</summary>
/// <param name="Image">Its program headers, with the addresses that it was linked for.</param>
/// <param name="Displacement">Added, modulo 2^64, to every physical address.</param>
internal sealed record ElfKernel(ElfImage Image, ulong Displacement)
{
    /// <summary>Where it lies.</summary>
    public Placement Placed => new(
        Image.Start + Displacement, Image.End + Displacement, new GuestAddress(Image.Entry + Displacement));

    /// <summary>Loads the ELF file to start: the kernel itself, or what is packed in it.</summary>
    /// <param name="memory">All zeros from 1 MiB on.</param>
    /// <param name="kernel">The kernel.</param>
    /// <param name="request">Whether to unpack and to randomize.</param>
    /// <param name="limit">First address that an unpacked kernel may not touch.</param>
    /// <param name="isCoupled">Must physical and virtual addresses move by the same distance?</param>
    /// <param name="report">What became of a bzImage that was to be unpacked; else null.</param>
    /// <returns>Null if it is a bzImage that unpacks itself, or no ELF file at all: then nothing was written.</returns>
    /// <exception cref="BootException">It is damaged, or does not fit.</exception>
    public static ElfKernel? TryLoad(
        GuestMemory memory,
        KernelImage kernel,
        BootRequest request,
        ulong limit,
        bool isCoupled,
        out UnpackReport? report)
    {
        report = null;
        if (kernel.Elf is { } own)
        {
            return Load(memory, kernel.Source, own);
        }

        if (!request.Unpack || kernel.BzImage is not { HasPayload: true })
        {
            return null;
        }

        var how = new UnpackRequest(
            limit, request.Kaslr && !HasNokaslr(request.CommandLine), isCoupled, request.Random, request.Libraries);
        return KernelUnpacker.TryLoad(memory, kernel, how, out report);
    }

    /// <summary>Copies the segments of an ELF file to their physical addresses.</summary>
    /// <param name="memory">All zeros where the segments go: what is not in the file is not written.</param>
    /// <param name="source">The bytes that <paramref name="image"/> describes.</param>
    /// <param name="image">The program headers.</param>
    /// <param name="inBaseMemory">May it lie below 1 MiB, too?</param>
    /// <exception cref="BootException">A segment would lie outside low memory, or below 1 MiB where it may not.
    /// </exception>
    public static ElfKernel Load(GuestMemory memory, ImageSource source, ElfImage image, bool inBaseMemory = false)
    {
        ulong end = memory.Regions[0].Length;
        foreach (ref readonly ElfSegment segment in image.Segments)
        {
            ulong start = segment.PhysicalAddress;
            if ((start < Layout.HighMemory && !inBaseMemory) || !FreeRoom.IsUsable(start, segment.MemorySize, end))
            {
                string below = inBaseMemory ? $"from 0x{Layout.PageSize:x} to 0x{Layout.Ebda:x} and " : "";
                throw new BootException($"kernel {source.Name}: its segment of {segment.MemorySize} bytes at "
                    + $"0x{start:x} lies outside the memory {below}from 0x{Layout.HighMemory:x} to 0x{end:x}: "
                    + "give more --mem or another kernel");
            }
        }

        foreach (ref readonly ElfSegment segment in image.Segments)
        {
            source.CopyTo(segment.FileOffset, segment.FileSize, memory, new GuestAddress(segment.PhysicalAddress));
        }

        return new ElfKernel(image, Displacement: 0);
    }

    /// <summary>Is there the word nokaslr? The kernel's own unpacker looks for it anywhere in the line.</summary>
    internal static bool HasNokaslr(string commandLine) =>
        commandLine.Split((char[]?)null).AsSpan().Contains("nokaslr");
}

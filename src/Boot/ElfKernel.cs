using Vmm.Devices.Memory;

namespace Vmm.Boot;

/// <summary>Where a kernel was put.</summary>
/// <param name="Start">Its first byte.</param>
/// <param name="End">First address behind all that it needs to start.</param>
/// <param name="Entry">Its entry point.</param>
internal readonly record struct Placement(GuestAddress Start, GuestAddress End, GuestAddress Entry);

/// <summary>An ELF kernel that is to be loaded.</summary>
/// <param name="Source">The bytes that <paramref name="Image"/> describes.</param>
/// <param name="Image">The program headers.</param>
/// <param name="Unpacked">What is known about it if it was unpacked from a bzImage.</param>
internal sealed record ElfKernel(ImageSource Source, ElfImage Image, UnpackedKernel? Unpacked)
{
    /// <summary>Added, modulo 2^64, to every physical address.</summary>
    public ulong Displacement => Unpacked?.PhysicalDisplacement ?? 0;

    /// <summary>The ELF file to start: the kernel itself, or what was unpacked from it; null if it is a bzImage that
    /// unpacks itself.</summary>
    /// <exception cref="BootException">What was unpacked is no 64-bit ELF file.</exception>
    public static ElfKernel? Of(KernelImage kernel, UnpackedKernel? unpacked)
    {
        if (kernel.Elf is { } own)
        {
            return new ElfKernel(kernel.Source, own, Unpacked: null);
        }

        if (unpacked is null)
        {
            return null;
        }

        if (ElfImage.Parse(unpacked.Elf, out ElfImage? elf) is string wrong)
        {
            throw new BootException($"kernel {kernel.Name}: the kernel packed in it {wrong}");
        }

        return elf!.Is64Bit
            ? new ElfKernel(unpacked.Elf, elf, unpacked)
            : throw new BootException($"kernel {kernel.Name}: the kernel packed in it is a 32-bit one");
    }

    /// <summary>Copies the segments to their physical addresses.</summary>
    /// <param name="memory">All zeros where the segments go: what is not in the file is not written.</param>
    /// <exception cref="BootException">A segment would lie outside low memory or below 1 MiB.</exception>
    public Placement Load(GuestMemory memory)
    {
        ulong end = memory.Regions[0].Length;
        foreach (ref readonly ElfSegment segment in Image.Segments)
        {
            ulong start = segment.PhysicalAddress + Displacement;
            if (start < Layout.HighMemory || start > end || segment.MemorySize > end - start)
            {
                throw new BootException($"kernel {Source.Name}: its segment of {segment.MemorySize} bytes at "
                    + $"0x{start:x} lies outside the memory from 0x{Layout.HighMemory:x} to 0x{end:x}: "
                    + "give more --mem or another kernel");
            }
        }

        foreach (ref readonly ElfSegment segment in Image.Segments)
        {
            Source.CopyTo(
                segment.FileOffset, segment.FileSize, memory, new GuestAddress(segment.PhysicalAddress + Displacement));
        }

        Unpacked?.Loaded?.Invoke(memory);
        return new Placement(
            Image.Start + Displacement, Image.End + Displacement, new GuestAddress(Image.Entry + Displacement));
    }
}

using Vmm.Boot.Kaslr;
using Vmm.Devices.Memory;

namespace Vmm.Boot.Unpack;

/// <summary>The part of guest memory in which a kernel is unpacked and put into place.</summary>
/// <remarks>The payload is unpacked where the kernel goes, so that no second copy of it ever exists. Segments lie
/// further on in the file than in memory, mostly by the same 2 MiB: unpacking begins that much lower, and then only
/// the last few segments have to move.</remarks>
internal readonly unsafe ref struct UnpackWindow
{
    /// <summary>p_offset of the first segment: linkers align it to the largest page of x86-64.</summary>
    private const ulong UsualFileOffset = 0x20_0000;

    private readonly GuestMemory _memory;
    private readonly KernelImage _kernel;
    private readonly ulong _start;
    private readonly ulong _limit;

    public UnpackWindow(GuestMemory memory, KernelImage kernel, ulong physical, uint length, ulong limit)
    {
        _memory = memory;
        _kernel = kernel;
        _limit = limit;
        _start = physical >= Layout.HighMemory + UsualFileOffset ? physical - UsualFileOffset : physical;
        ulong end = _start + length;
        if (end > limit || !memory.TryGetPointer(new GuestAddress(_start), length, out byte* pointer))
        {
            throw KernelUnpacker.Bad(kernel, $"unpacks to {length} bytes, for which there is no room from 0x{_start:x} to 0x{limit:x}: "
                + "give more --mem or a smaller kernel");
        }

        // SAFETY: the range was found to be mapped memory, and no guest runs yet.
        Unpacked = new Span<byte>(pointer, (int)length);
    }

    /// <summary>Where to unpack.</summary>
    public Span<byte> Unpacked { get; }

    /// <summary>Moves the segments to their addresses, and relocates them.</summary>
    /// <param name="chosen">Random bases, for a kernel that can be relocated; else null.</param>
    /// <param name="need">Bytes that the chosen bases leave room for.</param>
    /// <param name="isRandomized">Were they used?</param>
    public ElfKernel Settle(KernelBase? chosen, ulong need, out bool isRandomized)
    {
        ElfImage elf = Parse();
        RelocationTable table = default;
        if (chosen is not null && RelocationTable.Find(Unpacked, out table) is string strange)
        {
            throw Packed(strange + ": fetch it again, or give --no-kaslr");
        }

        isRandomized = table.Count != 0;
        ulong displacement = 0, offset = 0;
        if (isRandomized)
        {
            ulong span = elf.End - elf.Start;
            if (elf.Start.Value != _kernel.BzImage!.PrefAddress || span > need)
            {
                throw KernelUnpacker.Bad(_kernel, $"packs a vmlinux of {span} bytes for {elf.Start}, its header says {need} bytes for "
                    + $"0x{_kernel.BzImage.PrefAddress:x}");
            }

            displacement = chosen!.Value.Physical - elf.Start.Value;
            offset = chosen.Value.VirtualOffset;
        }

        Check(elf, displacement, isRandomized ? (ulong)table.Offset : (ulong)Unpacked.Length);
        Move(elf, displacement);
        if (offset != 0 && table.Apply(Image(elf, displacement), RelocationTable.StartKernelMap + elf.Start.Value, offset)
            is string outside)
        {
            throw Packed(outside + ": fetch it again, or give --no-kaslr");
        }

        ClearRest(elf, displacement);
        return new ElfKernel(elf, displacement);
    }

    private ElfImage Parse()
    {
        fixed (byte* bytes = Unpacked)
        {
            // SAFETY: guest memory does not move, and the source is not used past this block.
            using var buffer = new NativeBuffer(bytes, Unpacked.Length);
            using var source = new MemoryImageSource(_kernel.Name, buffer.Memory);
            if (!ElfImage.Claims(source))
            {
                throw Packed("is no ELF file");
            }

            if (ElfImage.Parse(source, out ElfImage? elf) is string wrong)
            {
                throw Packed(wrong);
            }

            return elf!.Is64Bit ? elf : throw Packed("is a 32-bit one");
        }
    }

    /// <summary>Do all segments fit, without overwriting what is still needed?</summary>
    /// <param name="elf">The program headers.</param>
    /// <param name="displacement">Added to physical addresses.</param>
    /// <param name="kept">Bytes of the unpacked data from the start that must be kept.</param>
    private void Check(ElfImage elf, ulong displacement, ulong kept)
    {
        foreach (ref readonly ElfSegment segment in elf.Segments)
        {
            ulong to = segment.PhysicalAddress + displacement;
            if (to < Layout.HighMemory || to > _limit || segment.MemorySize > _limit - to)
            {
                throw Packed($"has a segment of {segment.MemorySize} bytes for 0x{to:x}, outside the memory from "
                    + $"0x{Layout.HighMemory:x} to 0x{_limit:x}: give more --mem or another kernel");
            }

            if (Overlap(to, segment.FileSize, _start + kept, (ulong)Unpacked.Length - kept))
            {
                throw Packed("has a segment that would overwrite its relocation table");
            }
        }

        if (elf.End - elf.Start > PackedPayload.MostUnpackedSize)
        {
            throw Packed("has segments spread over more than 1 GiB");
        }
    }

    private void Move(ElfImage elf, ulong displacement)
    {
        // In ascending order if all segments move down, as the kernel's own unpacker does, otherwise in descending order.
        ElfSegment[] segments = elf.Segments.ToArray();
        if (!IsOrderly(segments, displacement))
        {
            Array.Reverse(segments);
            if (!IsOrderly(segments, displacement))
            {
                throw Packed("has segments in an order that cannot be loaded");
            }
        }

        foreach (ref readonly ElfSegment segment in segments.AsSpan())
        {
            if (segment.FileSize != 0)
            {
                Span<byte> from = Unpacked.Slice((int)segment.FileOffset, (int)segment.FileSize);
                Span<byte> to = Guest(segment.PhysicalAddress + displacement, segment.FileSize);
                from.CopyTo(to); // memmove: they may overlap, or be the same
            }
        }
    }

    /// <summary>Does moving segments in this order overwrite none that is still to move?</summary>
    private bool IsOrderly(ReadOnlySpan<ElfSegment> segments, ulong displacement)
    {
        for (int i = 0; i < segments.Length; i++)
        {
            ulong to = segments[i].PhysicalAddress + displacement;
            foreach (ref readonly ElfSegment later in segments[(i + 1)..])
            {
                if (Overlap(to, segments[i].FileSize, _start + (ulong)later.FileOffset, later.FileSize))
                {
                    return false;
                }
            }
        }

        return true;
    }

    /// <summary>The kernel's bytes, from its lowest address on.</summary>
    private Span<byte> Image(ElfImage elf, ulong displacement)
    {
        ulong end = 0;
        foreach (ref readonly ElfSegment segment in elf.Segments)
        {
            end = segment.FileSize == 0 ? end : segment.PhysicalAddress + segment.FileSize;
        }

        return end == 0 ? default : Guest(elf.Start.Value + displacement, end - elf.Start.Value);
    }

    /// <summary>Clears unpacked data that belongs to no segment: it would be in the kernel's .bss and .brk.</summary>
    private void ClearRest(ElfImage elf, ulong displacement)
    {
        ulong position = _start, end = _start + (ulong)Unpacked.Length;
        foreach (ref readonly ElfSegment segment in elf.Segments)
        {
            ulong start = segment.PhysicalAddress + displacement;
            Clear(position, Math.Min(start, end));
            position = Math.Max(position, start + segment.FileSize);
        }

        Clear(position, end);
    }

    private void Clear(ulong start, ulong end)
    {
        if (start < end)
        {
            Guest(start, end - start).Clear();
        }
    }

    private Span<byte> Guest(ulong address, ulong length) =>
        // SAFETY: in mapped memory if found; of less than 2 GiB, as Check made sure; no guest runs yet.
        _memory.TryGetPointer(new GuestAddress(address), length, out byte* pointer)
            ? new Span<byte>(pointer, checked((int)length))
            : throw new GuestMemoryException(new GuestAddress(address), length);

    private BootException Packed(string wrong) => KernelUnpacker.Bad(_kernel, "the kernel packed in it " + wrong);

    private static bool Overlap(ulong a, ulong aLength, ulong b, ulong bLength) =>
        aLength != 0 && bLength != 0 && a < b + bLength && b < a + aLength;
}

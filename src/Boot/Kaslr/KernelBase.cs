using System.Buffers.Binary;

namespace Vmm.Boot.Kaslr;

/// <summary>Where a kernel is put.</summary>
/// <param name="Physical">Guest-physical address of its first byte.</param>
/// <param name="VirtualOffset">Bytes between the virtual addresses that it was linked for and those it gets.</param>
internal readonly record struct KernelBase(ulong Physical, ulong VirtualOffset)
{
    /// <summary>KERNEL_IMAGE_SIZE with CONFIG_RANDOMIZE_BASE: bytes of virtual addresses, from __START_KERNEL_map on,
    /// for kernel text and data (arch/x86/include/asm/page_64_types.h).</summary>
    public const ulong KernelImageSize = 1 << 30;

    /// <summary>MIN_KERNEL_ALIGN of x86-64: a kernel is mapped by 2-MiB pages.</summary>
    public const ulong LeastAlignment = 0x20_0000;

    /// <summary>Chooses at random, as choose_random_location of the kernel's own unpacker does: each of the aligned
    /// places where it fits is as likely as any other, physical and virtual ones independently.</summary>
    /// <param name="linked">Its linked physical address (pref_address): nothing lower is chosen.</param>
    /// <param name="need">Bytes that it needs from its base on.</param>
    /// <param name="limit">First physical address that it may not touch.</param>
    /// <param name="alignment">CONFIG_PHYSICAL_ALIGN (kernel_alignment): a power of two.</param>
    /// <param name="isCoupled">Must both bases move by the same distance? For entry points, such as PVH's, whose code
    /// takes its physical addresses from its relocated virtual ones.</param>
    /// <param name="random">64 random bits at a time.</param>
    /// <returns>The linked place, where there is no other.</returns>
    public static KernelBase Choose(
        ulong linked, ulong need, ulong limit, ulong alignment, bool isCoupled, Func<ulong> random)
    {
        alignment = Math.Max(alignment, LeastAlignment);
        need = (need + LeastAlignment - 1) & ~(LeastAlignment - 1);
        ulong physicalSlots = Slots(linked, need, limit, alignment);
        ulong virtualSlots = Slots(linked, need, KernelImageSize, alignment);
        if (isCoupled)
        {
            physicalSlots = virtualSlots = Math.Min(physicalSlots, virtualSlots);
        }

        ulong virtualOffset = Below(virtualSlots, random) * alignment;
        ulong physicalOffset = isCoupled ? virtualOffset : Below(physicalSlots, random) * alignment;
        return new KernelBase(linked + physicalOffset, virtualOffset);
    }

    /// <summary>64 bits from the system's random source.</summary>
    /// <remarks>Not by RandomNumberGenerator, which on Linux loads all of OpenSSL: milliseconds, and an abort where
    /// there is none. .NET makes version 4 GUIDs from the system's source directly; 6 of the 128 bits are fixed
    /// (RFC 9562, 5.4), none of them in the first or last quarter.</remarks>
    public static ulong SystemRandom()
    {
        Span<byte> guid = stackalloc byte[16];
        Guid.NewGuid().TryWriteBytes(guid);
        uint low = BinaryPrimitives.ReadUInt32LittleEndian(guid);
        uint high = BinaryPrimitives.ReadUInt32LittleEndian(guid[12..]);
        return (ulong)high << 32 | low;
    }

    /// <summary>The number of places where it fits; at least 1, the linked one.</summary>
    private static ulong Slots(ulong linked, ulong need, ulong limit, ulong alignment) =>
        linked <= limit && need <= limit - linked ? ((limit - linked - need) / alignment) + 1 : 1;

    /// <summary>As the kernel does it: with at most 2^31 slots the bias of a 64-bit remainder is not measurable.</summary>
    private static ulong Below(ulong count, Func<ulong> random) => random() % count;
}

/// <summary>The result of address-space randomization of the kernel (KASLR).</summary>
public enum KaslrOutcome
{
    /// <summary>Left to the kernel, which unpacks itself or was started without unpacking.</summary>
    LeftToKernel,

    /// <summary>Its physical and virtual bases are random.</summary>
    Randomized,

    /// <summary>Turned off, by --no-kaslr or by nokaslr on the command line.</summary>
    TurnedOff,

    /// <summary>The kernel has no relocation table, or cannot be moved at all: it was built without
    /// CONFIG_RANDOMIZE_BASE.</summary>
    NoRelocations,
}

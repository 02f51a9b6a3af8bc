using System.Runtime.InteropServices;
using Vmm.Devices.Memory;

namespace Vmm.Tests.Shared;

/// <summary>Guest memory for tests: zeroed, page-aligned native memory, freed at the end.</summary>
internal sealed unsafe class TestMemory : IDisposable
{
    private const nint PageSize = 4096;

    private readonly void*[] _blocks;

    /// <summary>One region from address 0.</summary>
    public TestMemory(ulong size)
        : this((0, size))
    {
    }

    public TestMemory(params (ulong Start, ulong Length)[] regions)
    {
        _blocks = new void*[regions.Length];
        var made = new GuestRegion[regions.Length];
        for (int i = 0; i < regions.Length; i++)
        {
            // calloc takes large blocks zeroed from the kernel, page by page as they are touched; clearing megabytes
            // for each test would take most of its time.
            _blocks[i] = NativeMemory.AllocZeroed((nuint)regions[i].Length + (nuint)PageSize);
            nint aligned = ((nint)_blocks[i] + PageSize - 1) & ~(PageSize - 1);
            made[i] = new GuestRegion(new GuestAddress(regions[i].Start), regions[i].Length, aligned);
        }

        Memory = new GuestMemory(made);
    }

    public GuestMemory Memory { get; }

    /// <summary>Becomes equal to other memory of the same regions.</summary>
    public void CopyFrom(TestMemory other)
    {
        for (int i = 0; i < Memory.Regions.Length; i++)
        {
            Span(other.Memory.Regions[i]).CopyTo(Span(Memory.Regions[i]));
        }
    }

    /// <summary>Are all bytes as in other memory of the same regions?</summary>
    public bool IsSame(TestMemory other)
    {
        bool equal = true;
        for (int i = 0; i < Memory.Regions.Length; i++)
        {
            equal &= Span(Memory.Regions[i]).SequenceEqual(Span(other.Memory.Regions[i]));
        }

        return equal;
    }

    // SAFETY: the block of the region, allocated with that length and freed in Dispose only.
    private static Span<byte> Span(GuestRegion region) => new((void*)region.Host, (int)region.Length);

    public void Dispose()
    {
        foreach (void* block in _blocks)
        {
            NativeMemory.Free(block);
        }
    }
}

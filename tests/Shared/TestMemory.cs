using System.Runtime.InteropServices;
using Vmm.Devices.Memory;

namespace Vmm.Tests.Shared;

/// <summary>Guest memory for tests: zeroed, page-aligned native memory, freed at the end.</summary>
internal sealed unsafe class TestMemory : IDisposable
{
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
            _blocks[i] = NativeMemory.AlignedAlloc((nuint)regions[i].Length, 4096);
            NativeMemory.Clear(_blocks[i], (nuint)regions[i].Length);
            made[i] = new GuestRegion(new GuestAddress(regions[i].Start), regions[i].Length, (nint)_blocks[i]);
        }

        Memory = new GuestMemory(made);
    }

    public GuestMemory Memory { get; }

    public void Dispose()
    {
        foreach (void* block in _blocks)
        {
            NativeMemory.AlignedFree(block);
        }
    }
}

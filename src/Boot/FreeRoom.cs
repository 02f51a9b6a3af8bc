using Vmm.Devices.Memory;

namespace Vmm.Boot;

/// <summary>Finds free memory for a boot loader's data structures, outside of a kernel that may be anywhere, even below 1
/// MiB.</summary>
internal sealed class FreeRoom
{
    private readonly List<(ulong Start, ulong End)> _taken = [];
    private readonly ulong _end;

    /// <param name="image">The kernel, which is loaded already.</param>
    public FreeRoom(GuestMemory memory, ElfImage image)
    {
        _end = memory.Regions[0].Length;
        foreach (ref readonly ElfSegment segment in image.Segments)
        {
            _taken.Add((segment.PhysicalAddress, segment.PhysicalEnd));
        }
    }

    /// <summary>First address behind all that lies in high memory: the kernel's end, or the end of what was allocated behind
    /// it.</summary>
    public ulong End => Math.Max(Layout.HighMemory, _taken.Max(range => range.End));

    /// <summary>May memory from here on be used? Base memory without its first page, and from 1 MiB on.</summary>
    public static bool IsUsable(ulong start, ulong length, ulong memoryEnd) =>
        start >= Layout.HighMemory
            ? start <= memoryEnd && length <= memoryEnd - start
            : start >= Layout.PageSize && start <= Layout.Ebda && length <= Layout.Ebda - start;

    /// <summary>Allocates memory.</summary>
    /// <param name="preferred">Where it goes if nothing is there.</param>
    /// <param name="length">Bytes.</param>
    /// <returns>Its address: the preferred one, or else the first of a page behind something.</returns>
    /// <exception cref="BootException">No memory is free.</exception>
    public ulong Take(ulong preferred, ulong length)
    {
        foreach (ulong start in _taken.Select(range => (range.End + Layout.PageSize - 1) & ~(Layout.PageSize - 1))
            .Append(Layout.HighMemory).Order().Prepend(preferred))
        {
            if (IsUsable(start, length, _end)
                && !_taken.Exists(range => start < range.End && range.Start < start + length))
            {
                _taken.Add((start, start + length));
                return start;
            }
        }

        throw new BootException($"kernel: leaves no {length} free bytes for the boot data: give more --mem");
    }
}

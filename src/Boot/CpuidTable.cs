using System.Runtime.InteropServices;

namespace Vmm.Boot;

/// <summary>A list of CPUID answers that is being worked on.</summary>
internal sealed class CpuidTable(ReadOnlySpan<CpuidEntry> entries)
{
    private readonly List<CpuidEntry> _entries = [.. entries];

    /// <summary>The entries themselves, to change in place; not valid after <see cref="Add"/> or
    /// <see cref="Remove(uint)"/>.</summary>
    public Span<CpuidEntry> Entries => CollectionsMarshal.AsSpan(_entries);

    public CpuidEntry[] ToArray() => [.. _entries];

    /// <summary>Is there an answer for the leaf? <paramref name="at"/> is its place in <see cref="Entries"/>.</summary>
    public bool TryFind(uint function, uint index, out int at)
    {
        Span<CpuidEntry> entries = Entries;
        for (at = 0; at < entries.Length; at++)
        {
            ref readonly CpuidEntry entry = ref entries[at];
            if (entry.Function == function
                && (entry.Index == index || (entry.Flags & CpuidEntry.SignificantIndex) == 0))
            {
                return true;
            }
        }

        return false;
    }

    /// <summary>A leaf's answer, all zeros when there is none.</summary>
    public CpuidEntry Get(uint function, uint index = 0) => TryFind(function, index, out int at) ? Entries[at] : default;

    public bool Has(uint function) => TryFind(function, 0, out _);

    public void Remove(uint function) => _entries.RemoveAll(entry => entry.Function == function);

    public void Remove(uint function, uint index) =>
        _entries.RemoveAll(entry => entry.Function == function && entry.Index == index);

    public void Add(uint function, uint index, uint eax, uint ebx, uint ecx, uint edx, bool indexed = false) =>
        _entries.Add(new CpuidEntry
        {
            Function = function,
            Index = index,
            Flags = indexed ? CpuidEntry.SignificantIndex : 0,
            Eax = eax,
            Ebx = ebx,
            Ecx = ecx,
            Edx = edx,
        });

    /// <summary>Replaces a leaf without sub-leaves.</summary>
    public void Put(uint function, uint eax, uint ebx, uint ecx, uint edx)
    {
        Remove(function);
        Add(function, 0, eax, ebx, ecx, edx);
    }

    /// <summary>Keeps the leaf but has it answer zeros, which means "nothing of this".</summary>
    public void Clear(uint function)
    {
        if (Has(function))
        {
            Put(function, 0, 0, 0, 0);
        }
    }
}

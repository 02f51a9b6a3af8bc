using System.Runtime.Intrinsics.X86;
using Vmm.Boot;

namespace Vmm.Host;

/// <summary>The processor that this process runs on, as CPUID tells it.</summary>
internal static class Processor
{
    /// <summary>The features of leaves 1, 7, 0xD and 0x80000001, which include all that add instructions.</summary>
    /// <remarks>In a virtual machine each CPUID is an exit, 4 us and more. The C library has asked already, for itself.</remarks>
    public static CpuFeatureSet Features => new(
    [
        Known(1, 0, LibC.CPUID_INDEX_1),
        Known(7, 0, LibC.CPUID_INDEX_7),
        Known(7, 1, LibC.CPUID_INDEX_7_ECX_1),
        Known(0xd, 1, LibC.CPUID_INDEX_D_ECX_1),
        Known(0x8000_0001, 0, LibC.CPUID_INDEX_80000001),
    ]);

    /// <summary>One answer of CPUID; zeros for a leaf beyond the last.</summary>
    public static CpuidEntry Cpuid(uint leaf, uint subleaf = 0) => Cpuid(leaf, subleaf, Last(leaf));

    /// <summary>Adds the processor's name (leaves 0x80000002 to 0x80000004) to a table that has none.</summary>
    public static void AddName(Span<CpuidEntry> table)
    {
        foreach (CpuidEntry entry in table)
        {
            if (IsName(entry) && (entry.Eax | entry.Ebx | entry.Ecx | entry.Edx) != 0)
            {
                return;         // the last leaf of a short name is zeros, too
            }
        }

        foreach (ref CpuidEntry entry in table)
        {
            if (IsName(entry))
            {
                CpuidEntry mine = Cpuid(entry.Function);
                (entry.Eax, entry.Ebx, entry.Ecx, entry.Edx) = (mine.Eax, mine.Ebx, mine.Ecx, mine.Edx);
            }
        }
    }

    private static bool IsName(in CpuidEntry entry) => entry.Function is >= 0x8000_0002 and <= 0x8000_0004;

    /// <summary>The last leaf of a leaf's range: 0 and up, or 0x80000000 and up.</summary>
    private static uint Last(uint leaf) => (uint)X86Base.CpuId((int)(leaf & 0x8000_0000), 0).Eax;

    /// <param name="place">Of that leaf among those that the C library keeps. A leaf that the processor lacks is zeros.</param>
    private static unsafe CpuidEntry Known(uint leaf, uint subleaf, int place)
    {
        // SAFETY: a struct cpuid_feature, which starts with the four registers; the C library's own, for ever.
        var registers = new ReadOnlySpan<uint>(LibC.__x86_get_cpuid_feature_leaf((uint)place), 4);
        return new CpuidEntry
        {
            Function = leaf,
            Index = subleaf,
            Flags = CpuidEntry.SignificantIndex,
            Eax = registers[0],
            Ebx = registers[1],
            Ecx = registers[2],
            Edx = registers[3],
        };
    }

    private static CpuidEntry Cpuid(uint leaf, uint subleaf, uint last)
    {
        var entry = new CpuidEntry { Function = leaf, Index = subleaf, Flags = CpuidEntry.SignificantIndex };
        if (leaf <= last)
        {
            (int eax, int ebx, int ecx, int edx) = X86Base.CpuId((int)leaf, (int)subleaf);
            (entry.Eax, entry.Ebx, entry.Ecx, entry.Edx) = ((uint)eax, (uint)ebx, (uint)ecx, (uint)edx);
        }

        return entry;
    }
}

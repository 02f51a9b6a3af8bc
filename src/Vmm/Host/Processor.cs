using System.Runtime.Intrinsics.X86;
using Vmm.Boot;

namespace Vmm.Host;

/// <summary>The processor that this process runs on, as CPUID tells it.</summary>
internal static class Processor
{
    /// <summary>The features that its leaves 1, 7, 0xD and 0x80000001 name: those that add instructions.</summary>
    /// <remarks>In a virtual machine each CPUID is an exit, some 10 us: none is asked twice.</remarks>
    public static CpuFeatureSet Features
    {
        get
        {
            uint last = Last(0);
            return new([Cpuid(1, 0, last), Cpuid(7, 0, last), Cpuid(7, 1, last), Cpuid(0xd, 1, last), Cpuid(0x8000_0001)]);
        }
    }

    /// <summary>One answer of CPUID; zeros for a leaf beyond the last.</summary>
    public static CpuidEntry Cpuid(uint leaf, uint subleaf = 0) => Cpuid(leaf, subleaf, Last(leaf));

    /// <summary>Adds the processor's name (leaves 0x80000002 to 0x80000004) to a table that has none.</summary>
    public static void TellName(Span<CpuidEntry> table)
    {
        foreach (ref CpuidEntry entry in table)
        {
            bool isName = entry.Function is >= 0x8000_0002 and <= 0x8000_0004;
            if (isName && (entry.Eax | entry.Ebx | entry.Ecx | entry.Edx) == 0)
            {
                CpuidEntry mine = Cpuid(entry.Function);
                (entry.Eax, entry.Ebx, entry.Ecx, entry.Edx) = (mine.Eax, mine.Ebx, mine.Ecx, mine.Edx);
            }
        }
    }

    /// <summary>The last leaf of a leaf's range: 0 and up, or 0x80000000 and up.</summary>
    private static uint Last(uint leaf) => (uint)X86Base.CpuId((int)(leaf & 0x8000_0000), 0).Eax;

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

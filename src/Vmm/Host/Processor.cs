using System.Runtime.Intrinsics.X86;
using Vmm.Boot;

namespace Vmm.Host;

/// <summary>The processor that this process runs on, as CPUID tells it.</summary>
internal static class Processor
{
    /// <summary>The features that its leaves 1, 7, 0xD and 0x80000001 name: those that add instructions.</summary>
    public static CpuFeatureSet Features =>
        new([Cpuid(1), Cpuid(7), Cpuid(7, 1), Cpuid(0xd, 1), Cpuid(0x8000_0001)]);

    /// <summary>One answer of CPUID; zeros for a leaf beyond the last.</summary>
    public static CpuidEntry Cpuid(uint leaf, uint subleaf = 0)
    {
        var entry = new CpuidEntry { Function = leaf, Index = subleaf, Flags = CpuidEntry.SignificantIndex };
        if (leaf <= (uint)X86Base.CpuId((int)(leaf & 0x8000_0000), 0).Eax)
        {
            (int eax, int ebx, int ecx, int edx) = X86Base.CpuId((int)leaf, (int)subleaf);
            (entry.Eax, entry.Ebx, entry.Ecx, entry.Edx) = ((uint)eax, (uint)ebx, (uint)ecx, (uint)edx);
        }

        return entry;
    }

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
}

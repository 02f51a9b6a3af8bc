using Vmm.Boot;

namespace Vmm.Kvm.State;

/// <summary>Compares tables of KVM_SET_CPUID2 without what KVM changes in them as the guest sets its registers: since Linux 5.16
/// it refuses another table once the vCPU has run.</summary>
internal static class CpuidTables
{
    private const uint Osxsave = 1 << 27, Monitor = 1 << 3, Apic = 1 << 9, Ospke = 1 << 4, PvUnhalt = 1 << 7;
    private const uint FeaturesOfKvm = 0x4000_0001, FeaturesOfAmd = 0x8000_0001, SizesOfXsave = 0xd;

    public static bool AreSame(ReadOnlySpan<CpuidEntry> one, ReadOnlySpan<CpuidEntry> other)
    {
        if (one.Length != other.Length)
        {
            return false;
        }

        for (int i = 0; i < one.Length; i++)
        {
            if (!Equals(WithoutRegisters(one[i]), WithoutRegisters(other[i])))
            {
                return false;
            }
        }

        return true;
    }

    /// <summary>CR4.OSXSAVE and CR4.PKE, IA32_APIC_BASE, IA32_MISC_ENABLE and XCR0 show in the table (Intel SDM volume 2A, CPUID).</summary>
    private static (uint, uint, uint, uint, uint, uint) WithoutRegisters(CpuidEntry entry)
    {
        (uint eax, uint ebx, uint ecx, uint edx) = (entry.Eax, entry.Ebx, entry.Ecx, entry.Edx);
        switch (entry.Function)
        {
            case 1:
                ecx &= ~(Osxsave | Monitor);
                edx &= ~Apic;
                break;
            case 7:
                ecx &= ~Ospke;
                break;
            case SizesOfXsave:
                ebx = entry.Index > 1 ? ebx : 0;
                break;
            case FeaturesOfKvm:
                eax &= ~PvUnhalt;
                break;
            case FeaturesOfAmd:
                edx &= ~Apic;
                break;
        }

        return (entry.Function, entry.Index, eax, ebx, ecx, edx);
    }
}

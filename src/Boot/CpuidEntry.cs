using System.Runtime.InteropServices;

namespace Vmm.Boot;

/// <summary>One answer of CPUID: struct kvm_cpuid_entry2 of &lt;asm/kvm.h&gt;, 40 bytes.</summary>
[StructLayout(LayoutKind.Sequential)]
public struct CpuidEntry
{
    /// <summary>KVM_CPUID_FLAG_SIGNIFCANT_INDEX: the answer depends on ECX.</summary>
    public const uint SignificantIndex = 1;

    public uint Function, Index, Flags, Eax, Ebx, Ecx, Edx;
    private readonly uint _padding0, _padding1, _padding2;

    /// <summary>A register by its name, for code that walks over feature words.</summary>
    public readonly uint this[CpuidRegister register] => register switch
    {
        CpuidRegister.Eax => Eax,
        CpuidRegister.Ebx => Ebx,
        CpuidRegister.Ecx => Ecx,
        _ => Edx,
    };

    internal void Set(CpuidRegister register, uint value)
    {
        switch (register)
        {
            case CpuidRegister.Eax:
                Eax = value;
                break;
            case CpuidRegister.Ebx:
                Ebx = value;
                break;
            case CpuidRegister.Ecx:
                Ecx = value;
                break;
            default:
                Edx = value;
                break;
        }
    }
}

/// <summary>A register in which CPUID answers.</summary>
public enum CpuidRegister
{
    Eax,
    Ebx,
    Ecx,
    Edx,
}

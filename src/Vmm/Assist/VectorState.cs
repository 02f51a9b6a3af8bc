using Vmm.Kvm.Abi;

namespace Vmm.Assist;

/// <summary>Has the guest's kernel enabled the registers that an instruction uses? (Intel SDM volume 2, 2.4 and 2.8;
/// volume 3, table 2-2 and 14.1.)</summary>
internal static class VectorState
{
    /// <summary>Result of the methods: no fault.</summary>
    public const byte Usable = 0xFF;

    private const ulong AvxBits = 0b110, Avx512Bits = 0b1110_0110;

    /// <summary>Legacy SSE.</summary>
    public static byte SseFault(IAssistCpu cpu)
    {
        ref readonly KvmSregs sregs = ref cpu.Sregs;
        if ((sregs.Cr0 & Bits.Cr0Em) != 0 || (sregs.Cr4 & Bits.Cr4OsFxsr) == 0)
        {
            return GuestFault.Ud;
        }

        return (sregs.Cr0 & Bits.Cr0Ts) != 0 ? GuestFault.Nm : Usable;
    }

    /// <summary>VEX and XOP encodings with vector registers.</summary>
    public static byte VexFault(IAssistCpu cpu) => ExtendedFault(cpu, AvxBits);

    /// <summary>EVEX encodings and opmask instructions.</summary>
    public static byte EvexFault(IAssistCpu cpu) => ExtendedFault(cpu, Avx512Bits);

    /// <summary>x87: CR0.EM and CR0.TS are both #NM.</summary>
    public static byte X87Fault(IAssistCpu cpu) =>
        (cpu.Sregs.Cr0 & (Bits.Cr0Em | Bits.Cr0Ts)) != 0 ? GuestFault.Nm : Usable;

    /// <summary>MMX: CR0.EM is #UD.</summary>
    public static byte MmxFault(IAssistCpu cpu)
    {
        ulong cr0 = cpu.Sregs.Cr0;
        return (cr0 & Bits.Cr0Em) != 0 ? GuestFault.Ud : (cr0 & Bits.Cr0Ts) != 0 ? GuestFault.Nm : Usable;
    }

    private static byte ExtendedFault(IAssistCpu cpu, ulong needed)
    {
        ref readonly KvmSregs sregs = ref cpu.Sregs;
        if ((sregs.Cr0 & Bits.Cr0Pe) == 0 || (cpu.Regs.Rflags & Bits.FlagVm) != 0
            || (sregs.Cr4 & Bits.Cr4OsXsave) == 0 || (cpu.Xcr0 & needed) != needed)
        {
            return GuestFault.Ud;
        }

        return (sregs.Cr0 & Bits.Cr0Ts) != 0 ? GuestFault.Nm : Usable;
    }
}

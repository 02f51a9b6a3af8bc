using Vmm.Kvm.Abi;

namespace Vmm.Assist;

/// <summary>The mode of the guest's processor.</summary>
internal static class GuestMode
{
    /// <summary>Current privilege level: the RPL of CS in protected mode (Intel SDM volume 3, 5.5).</summary>
    public static int Cpl(IAssistCpu cpu)
    {
        if ((cpu.Sregs.Cr0 & Bits.Cr0Pe) == 0)
        {
            return 0;
        }

        return (cpu.Regs.Rflags & Bits.FlagVm) != 0 ? 3 : cpu.Sregs.Cs.Selector & 3;
    }

    /// <summary>64-bit mode, as opposed to compatibility and legacy modes.</summary>
    public static bool Is64Bit(in KvmSregs sregs) => (sregs.Efer & Bits.EferLma) != 0 && sregs.Cs.L != 0;

    /// <summary>Default operand width of the code segment: 16, 32 or 64.</summary>
    public static int Bitness(in KvmSregs sregs) => Is64Bit(in sregs) ? 64 : sregs.Cs.Db != 0 ? 32 : 16;
}

using Vmm.Kvm.Abi;

namespace Vmm.Assist;

/// <summary>The general registers by the number that instruction encodings give them.</summary>
internal static class GuestRegisters
{
    public const int Rax = 0, Rcx = 1, Rdx = 2, Rbx = 3, Rsp = 4, Rbp = 5, Rsi = 6, Rdi = 7, Count = 16;

    /// <param name="regs">KVM's order differs from the encoding's in the first eight.</param>
    /// <param name="number">0 (RAX) to 15 (R15).</param>
    public static ref ulong At(ref KvmRegs regs, int number)
    {
        switch (number)
        {
            case 0: return ref regs.Rax;
            case 1: return ref regs.Rcx;
            case 2: return ref regs.Rdx;
            case 3: return ref regs.Rbx;
            case 4: return ref regs.Rsp;
            case 5: return ref regs.Rbp;
            case 6: return ref regs.Rsi;
            case 7: return ref regs.Rdi;
            case 8: return ref regs.R8;
            case 9: return ref regs.R9;
            case 10: return ref regs.R10;
            case 11: return ref regs.R11;
            case 12: return ref regs.R12;
            case 13: return ref regs.R13;
            case 14: return ref regs.R14;
            case 15: return ref regs.R15;
            default: throw new ArgumentOutOfRangeException(nameof(number));
        }
    }
}

using Vmm.Kvm.Abi;

namespace Vmm.Assist;

/// <summary>Answers a hypercall that KVM never finishes: on PVM hosts VMCALL in the kernel repeats for ever without
/// an exit. A vCPU that is kicked twice at the same one gets the answer that the hypercall does not exist.</summary>
internal sealed class StuckHypercall(IAssistCpu cpu, LinearMemory memory)
{
    private const long NoSuchHypercall = -1000;                       // KVM_ENOSYS of <linux/kvm_para.h>
    private const int Length = 3;

    private ulong _suspect;

    /// <summary>Hypercalls answered.</summary>
    public long Count { get; private set; }

    /// <summary>KVM_RUN came back because of a kick.</summary>
    /// <returns>true if the vCPU was stuck and now is not.</returns>
    public bool OnKick()
    {
        ref KvmRegs regs = ref cpu.Regs;
        ulong suspect = _suspect;
        _suspect = 0;
        if (GuestMode.Cpl(cpu) != 0 || !IsAtHypercall(regs.Rip))
        {
            return false;
        }

        if (suspect != regs.Rip)
        {
            _suspect = regs.Rip;
            return false;
        }

        regs.Rax = unchecked((ulong)NoSuchHypercall);
        regs.Rip += Length;
        cpu.MarkRegsDirty();
        Count++;
        return true;
    }

    private bool IsAtHypercall(ulong rip)
    {
        Span<byte> bytes = stackalloc byte[Length];
        ulong linear = GuestMode.Is64Bit(in cpu.Sregs) ? rip : (uint)(cpu.Sregs.Cs.Base + rip);
        return memory.Fetch(linear, bytes, out _) == Length
            && (bytes.SequenceEqual<byte>([0x0F, 0x01, 0xC1])         // VMCALL
                || bytes.SequenceEqual<byte>([0x0F, 0x01, 0xD9]));    // VMMCALL
    }
}

using Vmm.Kvm.Abi;

namespace Vmm.Kvm;

/// <summary>placeholder until the assist is merged</summary>
#pragma warning disable CA1822
internal sealed class VcpuAssist(Vcpu vcpu) : IExitAssist
{
    public IEnumerable<(string Name, long Count)> Counts => [];

    public MachineEnd? Complete(ReadOnlySpan<byte> bytes) =>
        MachineEnd.Crashed($"instruction {Convert.ToHexString(bytes)}" + Where());

    public bool HandleMsr(bool isWrite) => false;

    public MachineEnd? AfterKick() => null;

    public string Where()
    {
        KvmRegs regs = vcpu.GetRegs();
        KvmSregs sregs = vcpu.GetSregs();
        return $" at RIP 0x{regs.Rip:x} (vCPU {vcpu.Id}, CS base 0x{sregs.Cs.Base:x}, CR3 0x{sregs.Cr3:x}, CR2 0x{sregs.Cr2:x})";
    }
}

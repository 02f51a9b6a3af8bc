using Vmm.Boot;
using Vmm.Kvm.Abi;

namespace Vmm.Kvm;

/// <summary>Sets vCPUs to the state in which a PC's firmware starts a boot loader or kernel.</summary>
/// <param name="cpuid">Their CPUID.</param>
/// <param name="cpus">Number of vCPUs.</param>
internal sealed class VcpuSetup(CpuidTemplate cpuid, int cpus)
{
    private readonly bool _vmx = cpuid.Features.Contains("vmx");
    private readonly bool _x2apic = cpus > CpuLapic.FirstLongId && cpuid.Features.Contains("x2apic");
    private readonly byte[] _lapic = new byte[CpuLapic.StateSize];

    /// <param name="vcpu">A new vCPU.</param>
    /// <param name="entry">The first instruction, for the vCPU that boots; null for the others, which wait for INIT
    /// and SIPI inside KVM.</param>
    public void Apply(Vcpu vcpu, EntryState? entry)
    {
        bool boots = entry is not null;
        vcpu.SetCpuid(cpuid.ForVcpu(vcpu.Id));
        foreach (MsrEntry msr in MsrInitial.For(boots, _vmx, _x2apic))
        {
            // An MSR that KVM refuses here is one that this processor lacks, so that no guest expects it.
            _ = vcpu.TrySetMsr(msr.Index, msr.Data);
        }

        vcpu.GetLapic(_lapic);
        CpuLapic.SetVirtualWire(_lapic, boots);
        vcpu.SetLapic(_lapic);
        if (entry is not null)
        {
            SetEntry(vcpu, entry);
        }
    }

    private static void SetEntry(Vcpu vcpu, EntryState entry)
    {
        KvmSregs sregs = vcpu.GetSregs();
        sregs.Cs = Segment(entry.Code);
        sregs.Ds = sregs.Es = sregs.Fs = sregs.Gs = sregs.Ss = Segment(entry.Data);
        sregs.Tr = Segment(entry.Tss);
        sregs.Ldt = new KvmSegment { Unusable = 1 };
        sregs.Gdt = new KvmDtable { Base = entry.GdtBase, Limit = entry.GdtLimit };
        sregs.Idt = default;
        sregs.Cr0 = entry.Cr0;
        sregs.Cr3 = entry.Cr3;
        sregs.Cr4 = entry.Cr4;
        sregs.Efer = entry.Efer;
        vcpu.SetSregs(sregs);
        vcpu.SetRegs(new KvmRegs
        {
            Rip = entry.Rip,
            Rsp = entry.Rsp,
            Rax = entry.Rax,
            Rbx = entry.Rbx,
            Rsi = entry.Rsi,
            Rflags = entry.Rflags,
        });
    }

    private static KvmSegment Segment(EntrySegment segment) => new()
    {
        Base = segment.Base,
        Limit = segment.Limit,
        Selector = segment.Selector,
        Type = segment.Type,
        Present = segment.Present,
        Dpl = segment.Dpl,
        Db = segment.Db,
        S = segment.S,
        L = segment.L,
        G = segment.G,
    };
}

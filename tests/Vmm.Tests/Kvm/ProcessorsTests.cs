using Iced.Intel;
using Vmm.Machines;
using Vmm.Tests.Shared;
using static Iced.Intel.AssemblerRegisters;
using static Vmm.Tests.Kvm.ApplicationProcessors;

namespace Vmm.Tests.Kvm;

/// <summary>Application processors start by INIT and start-up IPI, and each has its own APIC id.</summary>
public sealed class ProcessorsTests
{
    private const int Cpus = 4;

    /// <summary>The first wakes all others with one INIT and one start-up IPI (Intel SDM volume 3, 10.4.4). Each notes its APIC id as
    /// CPUID's leaves 1 and 0xb and its own x2APIC tell it, in a row of its own, and how many it is.</summary>
    [KvmFact]
    public void Each_application_processor_reads_its_own_APIC_id()
    {
        using var guest = new TestGuest(static code =>
        {
            Label wait = code.CreateLabel();
            code.WriteMsr(ApicBase, BootX2Apic);
            code.WriteMsr(Icr, 0xc4500);                               // INIT to all but this one
            code.WriteMsr(Icr, 0xc4600 | (uint)(Trampoline >> 12));
            code.Label(ref wait);
            code.WaitByExit();
            code.cmp(__dword_ptr[(uint)Found], Cpus - 1);
            code.jne(wait);
            code.mov(eax, 1);
            code.cpuid();
            code.shr(ebx, 24);
            code.mov(al, bl);                                           // the first's own id
            code.@out(0xf4, al);
        });
        using Machine machine = Machine.Build(new MachineSpec { Kernel = guest.Path, Memory = 64UL << 20, Cpus = Cpus });
        Install(machine, StoreIds);
        Assert.Equal(MachineEnd.FromGuest(0), machine.Run());
        Assert.Equal((uint)Cpus - 1, Result(machine, 0));
        for (uint id = 1; id < Cpus; id++)
        {
            uint[] row = [.. Enumerable.Range(0, 4).Select(i => Result(machine, (16 * id) + (4 * (ulong)i)))];
            Assert.Equal([id, id, id, 1u], row);
        }
    }

    private static void StoreIds(Assembler code)
    {
        code.mov(eax, 1);
        code.cpuid();
        code.shr(ebx, 24);
        code.mov(edi, ebx);
        code.shl(edi, 4);
        code.mov(__dword_ptr[di], ebx);
        code.mov(eax, 0xb);
        code.xor(ecx, ecx);
        code.cpuid();
        code.mov(__dword_ptr[di + 4], edx);
        code.WriteMsr(ApicBase, OtherX2Apic);
        code.mov(ecx, ApicId);
        code.rdmsr();
        code.mov(__dword_ptr[di + 8], eax);
        code.@lock.inc(__dword_ptr[di + 12]);                           // once, in this row
    }
}

using Iced.Intel;
using Vmm.Machines;
using Vmm.Tests.Shared;
using static Iced.Intel.AssemblerRegisters;
using static Vmm.Tests.Kvm.ApplicationProcessors;

namespace Vmm.Tests.Kvm.Vendors;

/// <summary>More processors than an APIC id of eight bits can number: KVM_CAP_X2APIC_API with both its flags.</summary>
public sealed class ManyProcessorsTests
{
    private const int Cpus = 258;

    /// <summary>In x2APIC mode the destination is a number of 32 bits, of which only all ones is everybody (Intel SDM volume 3,
    /// "Interrupt Command Register in x2APIC Mode"). A processor that waits in the old mode takes 255 for everybody,
    /// so all have to start in the new one.</summary>
    [KvmFact]
    public void Processors_from_255_on_are_called_each_by_its_own_number()
    {
        using var guest = new TestGuest(static code =>
        {
            code.WriteMsr(ApicBase, BootX2Apic);
            uint called = 0;
            foreach (uint id in (ReadOnlySpan<uint>)[255, 257])
            {
                Label wait = code.CreateLabel();
                code.WriteMsr(Icr, 0x4500, id);                         // INIT
                code.WriteMsr(Icr, 0x4600 | (uint)(Trampoline >> 12), id);
                called++;
                code.Label(ref wait);
                code.WaitByExit();
                code.cmp(__dword_ptr[(uint)Found], called);
                code.jb(wait);
            }

            code.Exit(0);
        });
        using Machine machine = Machine.Build(new MachineSpec { Kernel = guest.Path, Memory = 64UL << 20, Cpus = Cpus });
        Install(machine, StoreId);
        Assert.Equal(MachineEnd.FromGuest(0), machine.Run());
        uint[] ids = [.. Enumerable.Range(0, 3).Select(i => Result(machine, 4 * (ulong)i))];
        Assert.Equal([2u, 255u, 257u], ids);
    }

    /// <summary>Stores the id of its x2APIC behind those of earlier processors.</summary>
    private static void StoreId(Assembler code)
    {
        code.WriteMsr(ApicBase, OtherX2Apic);
        code.mov(ecx, ApicId);
        code.rdmsr();
        code.mov(ebx, __dword_ptr[0]);
        code.shl(ebx, 2);
        code.mov(__dword_ptr[bx + 4], eax);
    }
}

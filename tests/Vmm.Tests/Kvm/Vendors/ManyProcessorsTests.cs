using Iced.Intel;
using Vmm.Devices.Memory;
using Vmm.Machines;
using Vmm.Tests.Shared;
using static Iced.Intel.AssemblerRegisters;

namespace Vmm.Tests.Kvm.Vendors;

/// <summary>More processors than an APIC id of eight bits can number: KVM_CAP_X2APIC_API with both its flags.</summary>
public sealed class ManyProcessorsTests
{
    private const int Cpus = 258;
    private const ulong Trampoline = 0x4_0000, Found = 0x5_0000;
    private const uint ApicBase = 0x1b, ApicId = 0x802, Icr = 0x830;

    /// <summary>In x2APIC mode the destination is a number of 32 bits, of which only all ones is everybody (Intel SDM volume 3,
    /// "Interrupt Command Register in x2APIC Mode"). A processor that waits in the old mode takes 255 for everybody,
    /// so all have to start in the new one.</summary>
    [KvmFact]
    public void Processors_from_255_on_are_called_each_by_its_own_number()
    {
        using var guest = new TestGuest(static code =>
        {
            code.WriteMsr(ApicBase, 0xfee0_0000 | 0xd00);               // enabled, x2APIC, boot processor
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
        machine.Ram.Memory.Write(new GuestAddress(Trampoline), AssembleTrampoline());
        Assert.Equal(MachineEnd.FromGuest(0), machine.Run());
        uint[] ids = [.. Enumerable.Range(0, 3).Select(i => machine.Ram.Memory.Read<uint>(new GuestAddress(Found + 4 * (ulong)i)))];
        Assert.Equal([2u, 255u, 257u], ids);
    }

    /// <summary>Notes the id of its x2APIC behind those before it, and then counts itself.</summary>
    private static byte[] AssembleTrampoline()
    {
        var code = new Assembler(16);
        Label halt = code.CreateLabel();
        code.cli();
        code.mov(ax, (ushort)(Found >> 4));
        code.mov(ds, ax);
        code.WriteMsr(ApicBase, 0xfee0_0000 | 0xc00);
        code.mov(ecx, ApicId);
        code.rdmsr();
        code.mov(ebx, __dword_ptr[0]);
        code.shl(ebx, 2);
        code.mov(__dword_ptr[bx + 4], eax);
        code.@lock.inc(__dword_ptr[0]);
        code.Label(ref halt);
        code.hlt();
        code.jmp(halt);
        using var bytes = new MemoryStream();
        code.Assemble(new StreamCodeWriter(bytes), Trampoline & 0xffff);
        return bytes.ToArray();
    }
}

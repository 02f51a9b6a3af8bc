using Iced.Intel;
using Vmm.Devices.Memory;
using Vmm.Machines;
using Vmm.Tests.Shared;
using static Iced.Intel.AssemblerRegisters;

namespace Vmm.Tests.Kvm;

/// <summary>Application processors: they come when they are called, and each is who it says.</summary>
public sealed class ProcessorsTests
{
    private const int Cpus = 4;
    private const ulong Trampoline = 0x4_0000, Found = 0x5_0000;
    private const uint ApicBase = 0x1b, ApicId = 0x802, Icr = 0x830;

    /// <summary>The first wakes all others with one INIT and one start-up IPI (Intel SDM volume 3, 10.4.4). Each notes its APIC id as
    /// CPUID's leaves 1 and 0xb and its own x2APIC tell it, in a row of its own, and how many it is.</summary>
    [KvmFact]
    public void Each_application_processor_reads_its_own_APIC_id()
    {
        using var guest = new TestGuest(static code =>
        {
            Label wait = code.CreateLabel();
            code.WriteMsr(ApicBase, 0xfee0_0000 | 0xd00);              // enabled, x2APIC, boot processor
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
        machine.Ram.Memory.Write(new GuestAddress(Trampoline), AssembleTrampoline());
        Assert.Equal(MachineEnd.FromGuest(0), machine.Run());
        Assert.Equal((uint)Cpus - 1, machine.Ram.Memory.Read<uint>(new GuestAddress(Found)));
        for (uint id = 1; id < Cpus; id++)
        {
            uint[] row = [.. Enumerable.Range(0, 4).Select(i => machine.Ram.Memory.Read<uint>(new GuestAddress(Found + (16 * id) + (4 * (ulong)i))))];
            Assert.Equal([id, id, id, 1u], row);
        }
    }

    private static byte[] AssembleTrampoline()
    {
        var code = new Assembler(16);
        Label halt = code.CreateLabel();
        code.cli();
        code.mov(ax, (ushort)(Found >> 4));
        code.mov(ds, ax);
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
        code.WriteMsr(ApicBase, 0xfee0_0000 | 0xc00);
        code.mov(ecx, ApicId);
        code.rdmsr();
        code.mov(__dword_ptr[di + 8], eax);
        code.@lock.inc(__dword_ptr[di + 12]);                           // once, in this row
        code.@lock.inc(__dword_ptr[0]);
        code.Label(ref halt);
        code.hlt();
        code.jmp(halt);
        using var bytes = new MemoryStream();
        code.Assemble(new StreamCodeWriter(bytes), Trampoline & 0xffff);
        return bytes.ToArray();
    }
}

using Iced.Intel;
using Vmm.Boot;
using Vmm.Devices.Memory;
using Vmm.Kvm;
using Vmm.Kvm.Abi;
using Vmm.Tests.Shared;
using static Iced.Intel.AssemblerRegisters;

namespace Vmm.Tests.Kvm.Vendors;

/// <summary>Real mode, in which application processors start. VT-x processors before unrestricted guests cannot enter it: there KVM runs
/// virtual-8086 mode with a TSS of its own and, with EPT, an identity map (KVM API 4.40, 4.41), and emulates what that cannot do.
/// scripts/test-vt-x runs this on such a processor, too.</summary>
public sealed class RealModeTests
{
    private const ushort Code = 0x8000, Handler = 0x9000, Stack = 0x7000;
    private const byte Vector = 0x20;

    /// <summary>From real mode by an interrupt, a far call and a string instruction into protected mode and back.</summary>
    [KvmFact]
    public unsafe void Real_mode_and_the_ways_out_of_it_and_back_work()
    {
        using var memory = new TestMemory(1UL << 20);
        using KvmSystem kvm = KvmSystem.Open();
        using KvmVm vm = kvm.CreateVm();
        vm.SetRealModePages(new GuestAddress(Layout.KvmIdentityMap), new GuestAddress(Layout.KvmTss));
        vm.AddMemory(memory.Memory.Regions[0]);
        using Vcpu vcpu = vm.CreateVcpu(0, memory.Memory);
        memory.Memory.Write(new GuestAddress(Code), Assemble(Code, EmitMain));
        memory.Memory.Write(new GuestAddress(Handler), Assemble(Handler, static code =>
        {
            code.add(bx, 0x100);
            code.iret();
        }));
        memory.Memory.Write(new GuestAddress(Vector * 4), (uint)Handler);      // CS:IP
        WriteGdt(memory.Memory);

        KvmSregs sregs = vcpu.GetSregs();
        sregs.Cs.Base = 0;
        sregs.Cs.Selector = 0;
        vcpu.SetSregs(sregs);
        vcpu.SetRegs(new KvmRegs { Rip = Code, Rflags = 2 });
        Assert.Equal(0, vcpu.Enter());
        Assert.Equal(KvmExitReason.KVM_EXIT_IO, vcpu.Run->ExitReason);
        KvmRegs regs = vcpu.GetRegs();
        Assert.Equal((0x111UL, 0x1234UL, 0x77UL), (regs.Rbx & 0xffff, regs.Rsi & 0xffff, regs.Rdx & 0xff));
        Assert.Equal(0UL, vcpu.GetSregs().Cr0 & 1);
        Assert.Equal(0x5au, memory.Memory.Read<byte>(new GuestAddress(0x6003)));
    }

    private static void EmitMain(Assembler code)
    {
        Label far = code.CreateLabel(), protectedMode = code.CreateLabel(), real = code.CreateLabel();
        code.xor(ax, ax);
        code.mov(ds, ax);
        code.mov(es, ax);
        code.mov(ss, ax);
        code.mov(sp, Stack);
        code.mov(bx, 1);
        code.@int(Vector);                      // BX + 0x100
        code.push(cs);
        code.call(far);                         // near, with CS below: a far return
        code.mov(al, 0x5a);
        code.mov(di, 0x6000);
        code.mov(cx, 4);
        code.cld();
        code.rep.stosb();
        code.pushf();
        code.cli();
        code.popf();
        code.lgdt(__[0x5000]);
        code.mov(eax, cr0);
        code.or(al, 1);
        code.mov(cr0, eax);
        code.jmp(protectedMode);
        code.Label(ref protectedMode);
        code.mov(ax, 8);                        // a data segment of 64 KiB, whose base is 0x6000
        code.mov(ds, ax);
        code.mov(dl, __byte_ptr[0x100]);
        code.mov(eax, cr0);
        code.and(al, 0xfe);
        code.mov(cr0, eax);
        code.jmp(real);
        code.Label(ref real);
        code.xor(ax, ax);
        code.mov(ds, ax);
        code.mov(si, __word_ptr[0x6200]);
        code.@out(GuestCode.ExitPort, al);
        code.Label(ref far);
        code.add(bx, 0x10);
        code.retf();
    }

    /// <summary>The descriptors that the program loads, and what it reads through them.</summary>
    private static void WriteGdt(GuestMemory memory)
    {
        memory.Write(new GuestAddress(0x5000), (ushort)0xf);
        memory.Write(new GuestAddress(0x5002), 0x5010u);
        memory.Write(new GuestAddress(0x5018), 0x0000_9300_6000_ffffUL);
        memory.Write(new GuestAddress(0x6100), (byte)0x77);
        memory.Write(new GuestAddress(0x6200), (ushort)0x1234);
    }

    private static byte[] Assemble(ulong address, Action<Assembler> emit)
    {
        var code = new Assembler(16);
        emit(code);
        using var bytes = new MemoryStream();
        code.Assemble(new StreamCodeWriter(bytes), address);
        return bytes.ToArray();
    }
}

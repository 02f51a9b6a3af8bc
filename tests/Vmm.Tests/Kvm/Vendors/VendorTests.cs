using Iced.Intel;
using Vmm.Devices.Memory;
using Vmm.Kvm;
using Vmm.Kvm.Abi;
using Vmm.Machines;
using Vmm.Tests.Shared;
using static Iced.Intel.AssemblerRegisters;

namespace Vmm.Tests.Kvm.Vendors;

/// <summary>What Intel's and AMD's processors, and PVM, do differently, while a guest must see the same.</summary>
public sealed class VendorTests
{
    private const uint Unclaimed = 0xd200_0000;

    /// <summary>An EPT violation (VT-x), a nested page fault (AMD-V): KVM emulates the instruction.</summary>
    [KvmFact]
    public void Instructions_on_registers_of_devices_do_what_the_manual_says()
    {
        using var guest = new TestGuest(code =>
        {
            Label wrong = code.CreateLabel();
            code.mov(edi, Unclaimed);           // reads as all ones
            code.movzx(eax, __byte_ptr[rdi]);
            code.ExpectRax(0xff, ref wrong);
            code.movsx(rax, __word_ptr[rdi + 2]);
            code.ExpectRax(-1, ref wrong);
            code.mov(rax, 1);
            code.xchg(__dword_ptr[rdi], eax);
            code.ExpectRax(0xffff_ffff, ref wrong);
            code.mov(eax, 5);
            code.add(eax, __dword_ptr[rdi + 4]);
            code.ExpectRax(4, ref wrong);
            code.mov(eax, 0x1234);
            code.and(__dword_ptr[rdi], eax);
            code.or(__byte_ptr[rdi + 1], al);
            code.test(__dword_ptr[rdi], 0x8000_0000);
            code.jz(wrong);
            code.cmp(__byte_ptr[rdi], -1);
            code.jne(wrong);
            code.mov(rsi, rdi);                 // a string from the device into memory
            code.mov(edi, 0x20_0000);
            code.mov(ecx, 16);
            code.cld();
            code.rep.movsd();
            code.mov(rax, __qword_ptr[0x20_0038]);
            code.ExpectRax(-1, ref wrong);
            code.mov(edi, Unclaimed);           // and zeros into the device
            code.xor(eax, eax);
            code.mov(ecx, 16);
            code.rep.stosd();
            code.cmp(ecx, 0);
            code.jne(wrong);
            code.cmp(edi, unchecked((int)Unclaimed) + 64);
            code.jne(wrong);
            code.mov(edi, Unclaimed);
            code.xor(eax, eax);                 // compared with all ones, which go to EAX
            code.mov(ecx, 1);
            code.cmpxchg(__dword_ptr[rdi], ecx);
            code.jz(wrong);
            code.ExpectRax(0xffff_ffff, ref wrong);
            code.bts(__dword_ptr[rdi], 3);
            code.jnc(wrong);
            code.push(__qword_ptr[rdi]);
            code.pop(rax);
            code.ExpectRax(-1, ref wrong);
            code.mov(rax, cr4);
            code.or(eax, 1 << 9);               // OSFXSR
            code.mov(cr4, rax);
            code.movdqu(xmm1, __xmmword_ptr[rdi + 16]);
            code.movdqu(__xmmword_ptr[rdi + 32], xmm1);
            code.movq(rax, xmm1);
            code.ExpectRax(-1, ref wrong);
            code.ExitWithVerdict(ref wrong);
        });
        Assert.Equal(MachineEnd.FromGuest(0), GuestCode.Run(guest));
    }

    /// <summary>Where the leaf is there, by Intel's and AMD's manuals alike: the number at the second level covers all
    /// processors, and EDX is the number of the one that asks, which leaf 1 says too.</summary>
    /// <param name="leaf">0xB, and 0x1F, which Linux prefers to it.</param>
    [KvmTheory]
    [InlineData(0xb)]
    [InlineData(0x1f)]
    public void The_topology_leaves_agree_with_the_number_of_processors(int leaf)
    {
        using var guest = new TestGuest(code =>
        {
            Label done = code.CreateLabel(), wrong = code.CreateLabel();
            code.xor(eax, eax);
            code.cpuid();
            code.cmp(eax, leaf);
            code.jb(done);
            code.mov(eax, 1);
            code.cpuid();
            code.shr(ebx, 24);
            code.mov(esi, ebx);                 // APIC id
            code.mov(eax, leaf);
            code.xor(ecx, ecx);
            code.cpuid();
            code.test(ebx, ebx);
            code.jz(done);                      // the leaf is not there
            code.cmp(edx, esi);
            code.jne(wrong);
            code.mov(eax, leaf);
            code.mov(ecx, 1);
            code.cpuid();
            code.and(ebx, 0xffff);
            code.cmp(ebx, 4);
            code.jne(wrong);
            code.Label(ref done);
            code.ExitWithVerdict(ref wrong);
        });
        Assert.Equal(MachineEnd.FromGuest(0), GuestCode.Run(guest, cpus: 4));
    }

    /// <summary>Leaf 4 (Intel SDM volume 2, CPUID): four cores of one thread each share what is of the third level, and nothing
    /// below. AMD's processors have no such leaf.</summary>
    [KvmFact]
    public void Caches_of_the_first_levels_belong_to_one_processor()
    {
        using var guest = new TestGuest(code =>
        {
            Label next = code.CreateLabel(), check = code.CreateLabel();
            Label done = code.CreateLabel(), wrong = code.CreateLabel();
            code.xor(esi, esi);
            code.Label(ref next);
            code.mov(eax, 4);
            code.mov(ecx, esi);
            code.cpuid();
            code.test(eax, 0x1f);
            code.jz(done);                      // no more caches
            code.mov(edi, eax);
            code.shr(edi, 26);
            code.cmp(edi, 3);                   // ids of cores, less one
            code.jne(wrong);
            code.mov(edi, eax);
            code.shr(edi, 14);
            code.and(edi, 0xfff);               // ids that share it, less one
            code.shr(eax, 5);
            code.and(eax, 7);
            code.cmp(eax, 3);
            code.jb(check);
            code.sub(edi, 3);
            code.Label(ref check);
            code.test(edi, edi);
            code.jnz(wrong);
            code.inc(esi);
            code.cmp(esi, 16);
            code.jb(next);
            code.Label(ref done);
            code.ExitWithVerdict(ref wrong);
        });
        Assert.Equal(MachineEnd.FromGuest(0), GuestCode.Run(guest, cpus: 4));
    }

    /// <summary>Leaf 0xD (Intel SDM volume 1, "Enumeration of CPU support for XSAVE"): each part of the state that is offered lies
    /// within the size that is told, and what is on after a reset needs the least there is. Sizes differ from processor to
    /// processor.</summary>
    [KvmFact]
    public void The_parts_of_XSAVEs_state_lie_within_its_size()
    {
        using var guest = new TestGuest(code =>
        {
            Label next = code.CreateLabel(), skip = code.CreateLabel();
            Label done = code.CreateLabel(), wrong = code.CreateLabel();
            code.mov(eax, 1);
            code.cpuid();
            code.test(ecx, 1 << 26);            // XSAVE
            code.jz(done);
            code.mov(eax, 0xd);
            code.xor(ecx, ecx);
            code.cpuid();
            code.mov(edi, ecx);                 // size of all
            code.mov(ebp, eax);                 // parts
            code.cmp(ebx, 512 + 64);            // x87 alone
            code.jne(wrong);
            code.mov(esi, 2);
            code.Label(ref next);
            code.bt(ebp, esi);
            code.jnc(skip);
            code.mov(eax, 0xd);
            code.mov(ecx, esi);
            code.cpuid();
            code.test(eax, eax);
            code.jz(wrong);
            code.cmp(ebx, 512 + 64);
            code.jb(wrong);
            code.add(eax, ebx);
            code.cmp(eax, edi);
            code.ja(wrong);
            code.Label(ref skip);
            code.inc(esi);
            code.cmp(esi, 32);
            code.jb(next);
            code.Label(ref done);
            code.ExitWithVerdict(ref wrong);
        });
        Assert.Equal(MachineEnd.FromGuest(0), GuestCode.Run(guest));
    }

    /// <summary>Leaf 0x15 gives the TSC's frequency as crystal times ratio, leaf 0x16 the same in MHz (Intel SDM volume 2, CPUID);
    /// Linux takes the first for calibrated, so where it is there it is KVM's.</summary>
    [KvmFact]
    public void The_frequency_leaves_say_what_KVM_says_of_the_TSC()
    {
        using var guest = new TestGuest(code =>
        {
            Label done = code.CreateLabel(), wrong = code.CreateLabel();
            code.mov(eax, 0x4000_0010);         // TSC's kHz by the hypervisor's leaf
            code.cpuid();
            code.mov(esi, eax);
            code.xor(eax, eax);
            code.cpuid();
            code.cmp(eax, 0x15);
            code.jb(done);
            code.mov(eax, 0x15);
            code.xor(ecx, ecx);
            code.cpuid();
            code.test(ecx, ecx);
            code.jz(done);
            code.test(eax, eax);
            code.jz(wrong);
            code.mov(edi, eax);
            code.mov(eax, ecx);                 // Hz of the crystal * numerator / denominator / 1000
            code.mul(rbx);
            code.div(rdi);
            code.xor(edx, edx);
            code.mov(edi, 1000);
            code.div(rdi);
            code.sub(rax, rsi);
            code.add(rax, 1000);                // within a MHz
            code.cmp(rax, 2000);
            code.ja(wrong);
            code.xor(eax, eax);
            code.cpuid();
            code.cmp(eax, 0x16);
            code.jb(done);
            code.mov(eax, 0x16);
            code.cpuid();
            code.imul(eax, eax, 1000);
            code.sub(rax, rsi);
            code.add(rax, 1000);
            code.cmp(rax, 2000);
            code.ja(wrong);
            code.Label(ref done);
            code.ExitWithVerdict(ref wrong);
        });
        Assert.Equal(MachineEnd.FromGuest(0), GuestCode.Run(guest));
    }

    /// <summary>A read-only data segment as CS (Intel SDM volume 3, "Checks on guest segment registers"). Without unrestricted guests KVM
    /// emulates such a state instead.</summary>
    [VtxFact(Parameter = "unrestricted_guest")]
    public unsafe void A_state_that_VT_x_refuses_is_told_in_words()
    {
        using var memory = new TestMemory(1UL << 20);
        using KvmSystem kvm = KvmSystem.Open();
        using KvmVm vm = kvm.CreateVm();
        vm.AddMemory(memory.Memory.Regions[0]);
        using Vcpu vcpu = vm.CreateVcpu(0, memory.Memory);
        KvmSregs sregs = vcpu.GetSregs();
        sregs.Cs.Type = 0;            // KVM sets the accessed bit: 1
        vcpu.SetSregs(sregs);
        Assert.Equal(0, vcpu.Enter());
        Assert.Equal(KvmExitReason.KVM_EXIT_FAIL_ENTRY, vcpu.Run->ExitReason);
        Assert.Equal("VT-x: the guest's state is invalid", EntryFailure.Explain(vcpu.Run->FailEntryHardwareEntryFailureReason));
    }
}

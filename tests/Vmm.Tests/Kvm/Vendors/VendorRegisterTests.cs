using Iced.Intel;
using Vmm.Kvm;
using Vmm.Machines;
using Vmm.Tests.Shared;
using static Iced.Intel.AssemblerRegisters;

namespace Vmm.Tests.Kvm.Vendors;

/// <summary>Registers in which Intel's and AMD's processors differ, as a guest finds them and as it may change them. The MSRs
/// are those of the Intel SDM, volume 4, "Architectural MSRs".</summary>
public sealed class VendorRegisterTests
{
    private const uint FeatureControl = 0x3a, MtrrCap = 0xfe, MiscEnable = 0x1a0, PhysBase0 = 0x200, PhysMask0 = 0x201, Pat = 0x277,
        MtrrDefType = 0x2ff;

    private const uint Vmxe = 1 << 13;

    /// <summary>Leaf 1 and 0x80000001 lack VMX and SVM, whatever KVM could nest. So CR4.VMXE is a reserved bit (#GP, Intel SDM
    /// volume 2, MOV to control registers) and VMXON no instruction (#UD, volume 3, VMXON).</summary>
    [KvmFact]
    public void Nested_virtualisation_is_off()
    {
        using var guest = new TestGuest(code =>
        {
            Label wrong = code.CreateLabel();
            code.CatchFaults();
            code.mov(eax, 1);
            code.cpuid();
            code.test(ecx, 1 << 5);             // VMX
            code.jnz(wrong);
            code.mov(eax, 0x8000_0001);
            code.cpuid();
            code.test(ecx, 1 << 2);             // SVM
            code.jnz(wrong);
            code.mov(rsi, cr4);
            code.mov(rax, rsi);
            code.or(eax, Vmxe);
            code.ExpectFault(GuestCode.GeneralProtection, ref wrong, static code => code.mov(cr4, rax));
            code.mov(rax, cr4);
            code.cmp(rax, rsi);
            code.jne(wrong);
            if (HostKinds.Detect() == HostKind.VtX)
            {
                code.ExpectFault(GuestCode.InvalidOpcode, ref wrong, static code => code.vmxon(__qword_ptr[rsp]));
            }

            code.ExitWithVerdict(ref wrong);
        });
        Assert.Equal(MachineEnd.FromGuest(0), GuestCode.Run(guest));
    }

    /// <summary>A PC's firmware locks IA32_FEATURE_CONTROL, with VMX outside SMX enabled only where there is VMX (Intel SDM volume 3,
    /// "Enabling and Entering VMX Operation"). Once the lock bit is set a write is #GP.</summary>
    [VtxFact]
    public void The_feature_control_register_is_locked_with_VMX_off()
    {
        using var guest = new TestGuest(static code =>
        {
            Label wrong = code.CreateLabel();
            code.CatchFaults();
            code.ReadMsr(FeatureControl);
            code.ExpectRax(1, ref wrong);
            code.ExpectFault(GuestCode.GeneralProtection, ref wrong, static code => code.WriteMsr(FeatureControl, 5));
            code.ReadMsr(FeatureControl);
            code.ExpectRax(1, ref wrong);
            code.ExitWithVerdict(ref wrong);
        });
        Assert.Equal(MachineEnd.FromGuest(0), GuestCode.Run(guest));
    }

    /// <summary>Who asks for VMX by <c>--cpu host,+vmx</c> can enter VMX operation at once, as after a PC's firmware.</summary>
    [VtxFact(Parameter = "nested")]
    public void A_guest_that_is_given_VMX_can_enter_VMX_operation()
    {
        using var guest = new TestGuest(static code =>
        {
            const uint VmxBasic = 0x480;
            Label wrong = code.CreateLabel();
            code.CatchFaults();
            code.ReadMsr(FeatureControl);
            code.ExpectRax(5, ref wrong);
            code.mov(rax, cr0);
            code.or(eax, 1 << 5);               // NE, one of the bits that VMX operation fixes
            code.mov(cr0, rax);
            code.mov(rax, cr4);
            code.or(eax, Vmxe);
            code.ExpectFault(0, ref wrong, static code => code.mov(cr4, rax));
            code.ReadMsr(VmxBasic);
            code.and(eax, 0x7fff_ffff);         // the revision, at the beginning of the VMXON region
            code.mov(rdi, 0x20_0000);
            code.mov(__dword_ptr[rdi], eax);
            code.push(rdi);
            code.ExpectFault(0, ref wrong, static code => code.vmxon(__qword_ptr[rsp]));
            code.ExpectFault(0, ref wrong, static code => code.vmxoff());
            code.ExitWithVerdict(ref wrong);
        });
        Assert.Equal(MachineEnd.FromGuest(0), GuestCode.Run(guest, cpu: "host,+vmx"));
    }

    /// <summary>IA32_MISC_ENABLE: fast strings; no branch trace storage and no PEBS, as CPUID has no debug store; MONITOR as CPUID
    /// says, which is not; neither is CPUID cut at leaf 2 nor no-execute switched off.</summary>
    [VtxFact]
    public void IA32_MISC_ENABLE_agrees_with_CPUID()
    {
        using var guest = new TestGuest(static code =>
        {
            const uint FastStrings = 1, NoBranchTrace = 1 << 11, NoPebs = 1 << 12, Monitor = 1 << 18, CpuidCut = 1 << 22;
            Label wrong = code.CreateLabel();
            code.mov(eax, 1);
            code.cpuid();
            code.test(ecx, 1 << 3);             // MONITOR
            code.jnz(wrong);
            code.test(edx, 1 << 21);            // debug store
            code.jnz(wrong);
            code.ReadMsr(MiscEnable);
            code.mov(rsi, rax);
            code.shr(rsi, 34);
            code.test(esi, 1);
            code.jnz(wrong);
            code.and(eax, FastStrings | NoBranchTrace | NoPebs | Monitor | CpuidCut);
            code.cmp(eax, FastStrings | NoBranchTrace | NoPebs);
            code.jne(wrong);
            code.ExitWithVerdict(ref wrong);
        });
        Assert.Equal(MachineEnd.FromGuest(0), GuestCode.Run(guest));
    }

    /// <summary>Linux reads these early: IA32_MISC_ENABLE, IA32_MTRRCAP, IA32_PAT and IA32_MTRR_DEF_TYPE. None may fault, which without
    /// an IDT would be a triple fault; MTRRs are on with write-back as the default, as firmware leaves them, and PAT is as after
    /// reset.</summary>
    [KvmFact]
    public void Memory_types_are_as_firmware_leaves_them()
    {
        using var guest = new TestGuest(static code =>
        {
            Label wrong = code.CreateLabel();
            code.ReadMsr(MiscEnable);
            code.ReadMsr(MtrrCap);
            code.ReadMsr(Pat);
            code.ExpectRax(0x0007_0406_0007_0406, ref wrong);
            code.ReadMsr(MtrrDefType);
            code.and(eax, 0x8ff);
            code.cmp(eax, 0x806);
            code.jne(wrong);
            code.ExitWithVerdict(ref wrong);
        });
        Assert.Equal(MachineEnd.FromGuest(0), GuestCode.Run(guest));
    }

    /// <summary>Intel SDM volume 3, "Memory Type Range Registers" and "Page Attribute Table": what was written reads back; 2 and 3 are
    /// reserved types, and 7 (UC-) is one of the page attribute table's only: #GP.</summary>
    [KvmFact]
    public void Memory_types_can_be_set_and_reserved_ones_are_refused()
    {
        using var guest = new TestGuest(code =>
        {
            Label wrong = code.CreateLabel();
            code.CatchFaults();
            code.ReadMsr(MtrrCap);
            code.and(eax, 0xff);                // pairs of registers
            code.jz(wrong);
            code.WriteMsr(PhysBase0, 0xd000_0001);      // 256 MiB of write combining
            code.WriteMsr(PhysMask0, 0xf000_0800, 0xf);
            code.ReadMsr(PhysBase0);
            code.ExpectRax(0xd000_0001, ref wrong);
            code.ReadMsr(PhysMask0);
            code.ExpectRax(0xf_f000_0800, ref wrong);
            code.ExpectFault(GuestCode.GeneralProtection, ref wrong, static code => code.WriteMsr(PhysBase0, 0xd000_0002));
            code.ExpectFault(GuestCode.GeneralProtection, ref wrong, static code => code.WriteMsr(MtrrDefType, 0x803));
            code.ExpectFault(GuestCode.GeneralProtection, ref wrong, static code => code.WriteMsr(MtrrDefType, 0x807));

            // As Linux sets it: write combining for entries 1 and 5, write-through for 4 and 7 in place of the low ones.
            code.WriteMsr(Pat, 0x0007_0106, 0x0407_0506);
            code.ReadMsr(Pat);
            code.ExpectRax(0x0407_0506_0007_0106, ref wrong);
            if (HostKinds.Detect() != HostKind.Pvm) // which takes any
            {
                code.ExpectFault(GuestCode.GeneralProtection, ref wrong, static code => code.WriteMsr(Pat, 0x0007_0206, 0x0007_0406));
                code.ReadMsr(Pat);
                code.ExpectRax(0x0407_0506_0007_0106, ref wrong);
            }

            // A page that is uncacheable by its entry (PCD and PWT: entry 3) has the same contents.
            code.mov(rdi, 0x60_0000);
            code.mov(rax, 0x1122_3344_5566_7788);
            code.mov(__[rdi], rax);
            code.mov(rsi, cr3);
            code.mov(rsi, __[rsi]);
            code.and(rsi, -4096);
            code.mov(rsi, __[rsi]);
            code.and(rsi, -4096);
            code.or(__qword_ptr[rsi + (3 * 8)], 0x18);
            code.invlpg(__[rdi]);
            code.mov(rax, __[rdi]);
            code.ExpectRax(0x1122_3344_5566_7788, ref wrong);
            code.ExitWithVerdict(ref wrong);
        });
        Assert.Equal(MachineEnd.FromGuest(0), GuestCode.Run(guest));
    }
}

using System.Buffers.Binary;
using Iced.Intel;
using Vmm.Assist;
using Vmm.Devices.Memory;
using Vmm.Host;
using Vmm.Kvm.Abi;
using static Iced.Intel.AssemblerRegisters;

namespace Vmm.Tests.Assist;

public sealed partial class InstructionTests
{
    [Fact]
    public void Wait_raises_what_is_pending()
    {
        Run([0x9B]);
        BinaryPrimitives.WriteUInt16LittleEndian(_cpu.Xsave, 0x037E);
        BinaryPrimitives.WriteUInt16LittleEndian(_cpu.Xsave[2..], 0x8081);
        _cpu.Xsave[512] |= 1;
        ExpectFault([0x9B], GuestFault.Mf);
        ExpectFault(Processor.Assemble(a => a.fld1()), GuestFault.Mf);
        Run(Processor.Assemble(a => a.fnclex()));
        Run([0x9B]);
        _cpu.Sregs.Cr0 |= Bits.Cr0Ts | Bits.Cr0Mp;
        ExpectFault([0x9B], GuestFault.Nm);
    }

    [Fact]
    public void A_breakpoint_is_delivered_behind_the_instruction()
    {
        _cpu.Regs.Rip = FakeCpu.CodeAddress;
        Assert.Equal(AssistKind.Injected, _assist.TryHandle([0xCC]).Kind);
        Assert.Equal((GuestFault.Bp, false, 0u), _cpu.Injected);
        Assert.Equal(FakeCpu.CodeAddress + 1, _cpu.Regs.Rip);
    }

    [Fact]
    public void Ud2_is_undefined() => ExpectFault([0x0F, 0x0B], GuestFault.Ud);

    [Theory]
    [InlineData(0xE, 0, false)]
    [InlineData(0xF, 0, true)]
    [InlineData(0xE, 3, false)]
    public void Int_n_goes_through_the_descriptor_table(int type, int ist, bool keepsInterrupts)
    {
        const ulong Idt = 0x20000, Gdt = 0x21000, Tss = 0x22000, Target = 0xFFFF_8000_1234_5678;
        _cpu.Sregs.Idt = new KvmDtable { Base = Idt, Limit = 0xFFF };
        _cpu.Sregs.Gdt = new KvmDtable { Base = Gdt, Limit = 0x7F };
        _cpu.Sregs.Tr = new KvmSegment { Base = Tss, Limit = 0x67, Selector = 0x40 };
        _cpu.Memory.Write(new GuestAddress(Gdt + 0x10), 0x00AF_9B00_0000_FFFFUL);
        _cpu.Memory.Write(new GuestAddress(Tss + 0x24 + 16), 0x7008UL);
        ulong gate = (Target & 0xFFFF) | 0x10 << 16 | (ulong)ist << 32 | (ulong)(0x80 | type) << 40
            | (Target >> 16 & 0xFFFF) << 48;
        _cpu.Memory.Write(new GuestAddress(Idt + (0x29 * 16)), gate);
        _cpu.Memory.Write(new GuestAddress(Idt + (0x29 * 16) + 8), Target >> 32);
        _cpu.Regs.Rsp = 0x8008;
        _cpu.Regs.Rflags = 0x202 | Bits.FlagTf;
        _cpu.Regs.Rip = FakeCpu.CodeAddress;
        Assert.Equal(AssistKind.Handled, _assist.TryHandle([0xCD, 0x29]).Kind);

        ulong stack = ist == 0 ? 0x8000UL - 40 : 0x7000UL - 40;
        Assert.Equal(Target, _cpu.Regs.Rip);
        Assert.Equal(stack, _cpu.Regs.Rsp);
        Assert.Equal(keepsInterrupts ? 0x202UL : 2UL, _cpu.Regs.Rflags);
        Assert.Equal(FakeCpu.CodeAddress + 2, _cpu.Memory.Read<ulong>(new GuestAddress(stack)));
        Assert.Equal(0x10UL, _cpu.Memory.Read<ulong>(new GuestAddress(stack + 8)));
        Assert.Equal(0x302UL, _cpu.Memory.Read<ulong>(new GuestAddress(stack + 16)));
        Assert.Equal(0x8008UL, _cpu.Memory.Read<ulong>(new GuestAddress(stack + 24)));
        Assert.Equal(0x18UL, _cpu.Memory.Read<ulong>(new GuestAddress(stack + 32)));
        Assert.Equal(0x10, _cpu.Sregs.Cs.Selector);
        Assert.Equal(1, _cpu.Sregs.Cs.L);
    }

    [Fact]
    public void Int_n_without_a_gate_is_a_protection_fault_that_names_it()
    {
        _cpu.Sregs.Idt = new KvmDtable { Base = 0x20000, Limit = 0xFFF };
        ExpectFault([0xCD, 0x29], GuestFault.GpVector, errorCode: (0x29 << 3) | 2);
        _cpu.Sregs.Idt.Limit = 0x1F;
        ExpectFault([0xCD, 0x29], GuestFault.GpVector, errorCode: (0x29 << 3) | 2);
    }

    [Fact]
    public void What_is_not_known_is_named_with_its_place_and_bytes()
    {
        _cpu.Regs.Rip = FakeCpu.CodeAddress;
        AssistOutcome outcome = _assist.TryHandle(Processor.Assemble(a => a.vmxoff()));
        Assert.Equal(AssistKind.Unknown, outcome.Kind);
        Assert.Contains("vmxoff", outcome.Text);
        Assert.Contains("0x1000", outcome.Text);
        Assert.Contains("0f01c4", outcome.Text);
        Assert.Equal(FakeCpu.CodeAddress, _cpu.Regs.Rip);
    }

    [Fact]
    public void A_program_that_does_what_is_not_known_gets_an_exception()
    {
        _cpu.Sregs.Cs.Selector = 0x33;
        ExpectFault(Processor.Assemble(a => a.vmxoff()), GuestFault.Ud);
    }

    [Fact]
    public void Bytes_that_KVM_did_not_give_are_fetched()
    {
        byte[] code = Processor.Assemble(a => a.popcnt(rax, rcx));
        _cpu.Load(code);
        _cpu.Regs.Rcx = 0xF;
        Assert.Equal(AssistKind.Handled, _assist.TryHandle([]).Kind);
        Assert.Equal(4UL, _cpu.Regs.Rax);
        _cpu.Load(code);
        Assert.Equal(AssistKind.Handled, _assist.TryHandle(code.AsSpan(0, 2)).Kind);
        Assert.Equal(FakeCpu.CodeAddress + (ulong)code.Length, _cpu.Regs.Rip);
    }

    [Fact]
    public void Memory_that_is_not_there_is_not_emulated()
    {
        ulong tables = _cpu.Sregs.Cr3;
        _cpu.Memory.Write(new GuestAddress(tables + 0x1008), 0xC000_0083UL);
        _cpu.Regs.Rsi = 0x4000_0000;
        _cpu.Regs.Rip = FakeCpu.CodeAddress;
        AssistOutcome outcome = _assist.TryHandle(Processor.Assemble(a => a.movups(xmm0, __[rsi])));
        Assert.Equal(AssistKind.Unknown, outcome.Kind);
        Assert.Contains("not in the guest's memory", outcome.Text);
    }
}

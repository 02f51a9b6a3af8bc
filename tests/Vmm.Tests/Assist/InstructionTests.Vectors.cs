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
    public void Operands_are_found_through_segments_and_relative_to_rip()
    {
        _cpu.Sregs.Gs.Base = FakeCpu.DataAddress;
        _cpu.Memory.Write(Data + 0x58, 0xFFUL);
        _cpu.Regs.Rsp = 0x10;
        Run(Processor.Assemble(a => a.popcnt(rax, __.gs[rsp + 0x48])));
        Assert.Equal(8UL, _cpu.Regs.Rax);
        _cpu.Memory.Write(new GuestAddress(FakeCpu.CodeAddress + 0x100), 7UL);
        Run([0xF3, 0x48, 0x0F, 0xB8, 0x05, 0xF7, 0, 0, 0]);           // popcnt rax, [rip + 0xf7]
        Assert.Equal(3UL, _cpu.Regs.Rax);
    }

    [RequiresFact(CpuidFeature.AVX2)]
    public void Legacy_sse_operands_must_be_aligned_and_vex_ones_need_not()
    {
        _cpu.Regs.Rsi = FakeCpu.DataAddress + 8;
        ExpectFault(Processor.Assemble(a => a.paddd(xmm0, __[rsi])), GuestFault.GpVector, errorCode: 0);
        ExpectFault(Processor.Assemble(a => a.vmovdqa(ymm0, __[rsi])), GuestFault.GpVector, errorCode: 0);
        Run(Processor.Assemble(a => a.movdqu(xmm0, __[rsi])));
        Run(Processor.Assemble(a => a.vpaddd(xmm0, xmm0, __[rsi])));
        Run(Processor.Assemble(a => a.pmovzxbw(xmm0, __[rsi])));
    }

    [RequiresFact(CpuidFeature.AVX, CpuidFeature.BMI1)]
    public void Vector_instructions_need_what_the_kernel_enables()
    {
        _cpu.Xcr0 = 3;
        ExpectFault(Processor.Assemble(a => a.vpaddd(xmm0, xmm1, xmm2)), GuestFault.Ud);
        Run(Processor.Assemble(a => a.paddd(xmm0, xmm1)));
        Run(Processor.Assemble(a => a.andn(eax, ecx, edx)));
        _cpu.Sregs.Cr0 |= Bits.Cr0Ts;
        ExpectFault(Processor.Assemble(a => a.paddd(xmm0, xmm1)), GuestFault.Nm);
        Run(Processor.Assemble(a => a.crc32(eax, ecx)));
        ExpectFault(Processor.Assemble(a => a.fld1()), GuestFault.Nm);
        _cpu.Sregs.Cr0 |= Bits.Cr0Em;
        ExpectFault(Processor.Assemble(a => a.paddb(mm0, mm1)), GuestFault.Ud);
    }

    [Fact]
    public void Unmasked_floating_point_exceptions_reach_the_guest()
    {
        byte[] divide = Processor.Assemble(a => a.divps(xmm0, xmm1));
        _cpu.Xsave[512] |= 2;
        _cpu.Xsave.Slice(XsaveLayout.XmmOffset, 16).Fill(0x3F);
        BinaryPrimitives.WriteUInt32LittleEndian(_cpu.Xsave[24..], 0x1F80 & ~(1u << 9));
        byte[] before = _cpu.Xsave[160..416].ToArray();
        ExpectFault(divide, GuestFault.Xm);
        Assert.Equal(4u, SseControl.Read(_cpu.Xsave) & 0x3F);
        Assert.Equal(before, _cpu.Xsave[160..416].ToArray());
        _cpu.Sregs.Cr4 &= ~Bits.Cr4OsXmmExcpt;
        ExpectFault(divide, GuestFault.Ud);
        BinaryPrimitives.WriteUInt32LittleEndian(_cpu.Xsave[24..], 0x1F80);
        Run(divide);
        Assert.Equal(4u, SseControl.Read(_cpu.Xsave) & 0x3F);
    }

    [Fact]
    public void Unmasked_underflow_is_raised_for_exact_tiny_results_too()
    {
        // The smallest normal number by two: tiny, but exact.
        byte[] multiply = Processor.Assemble(a => a.mulss(xmm0, xmm1));
        _cpu.Xsave[512] |= 2;
        BinaryPrimitives.WriteUInt32LittleEndian(_cpu.Xsave[160..], 0x0080_0000);
        BinaryPrimitives.WriteSingleLittleEndian(_cpu.Xsave[176..], 0.5f);
        Run(multiply);
        Assert.Equal(0u, SseControl.Read(_cpu.Xsave) & 0x3F);
        BinaryPrimitives.WriteUInt32LittleEndian(_cpu.Xsave[160..], 0x0080_0000);
        BinaryPrimitives.WriteUInt32LittleEndian(_cpu.Xsave[24..], 0x1F80 & ~(1u << 11));
        ExpectFault(multiply, GuestFault.Xm);
        Assert.Equal(16u, SseControl.Read(_cpu.Xsave) & 0x3F);
        BinaryPrimitives.WriteUInt32LittleEndian(_cpu.Xsave[160..], 0x4000_0000);
        Run(multiply);
        Assert.Equal(1f, BinaryPrimitives.ReadSingleLittleEndian(_cpu.Xsave[160..]));
    }

    [RequiresFact(CpuidFeature.AVX512F)]
    public void Masked_elements_do_not_fault()
    {
        byte[] load = Processor.Assemble(a => a.vmovdqu32(zmm1.k1.z, __[rsi]));
        byte[] store = Processor.Assemble(a => a.vmovdqu32(__[rsi].k1, zmm1));
        _cpu.Regs.Rsi = FakeCpu.MemorySize - 8;
        _cpu.Xsave[512] |= 0xE7;
        Span<byte> opmasks = _cpu.Xsave[XsaveLayout.Host[5].Offset..];
        opmasks[8] = 3;
        _cpu.Memory.Write(new GuestAddress(FakeCpu.MemorySize - 8), 0x1122_3344_5566_7788UL);
        Run(load);
        Assert.Equal(0x1122_3344_5566_7788UL, BinaryPrimitives.ReadUInt64LittleEndian(_cpu.Xsave[176..]));
        Run(store);
        opmasks[8] = 7;
        ExpectFault(load, GuestFault.PfVector, errorCode: 0);
        Assert.Equal(FakeCpu.MemorySize, _cpu.Sregs.Cr2);
        ExpectFault(store, GuestFault.PfVector, errorCode: 2);
    }

    [Fact]
    public void A_store_to_a_read_only_page_faults_and_changes_nothing()
    {
        ulong tables = _cpu.Sregs.Cr3;
        _cpu.Memory.Write(new GuestAddress(tables + 0x2000), 0x81UL);
        _cpu.Regs.Rsi = FakeCpu.DataAddress;
        ExpectFault(Processor.Assemble(a => a.movups(__[rsi], xmm0)), GuestFault.PfVector, errorCode: 3);
        ExpectFault(Processor.Assemble(a => a.@lock.cmpxchg16b(__[rsi])), GuestFault.PfVector, errorCode: 3);
        Assert.Equal(FakeCpu.DataAddress, _cpu.Sregs.Cr2);
    }

    [Fact]
    public void Locked_operations_work_on_the_guests_memory()
    {
        _cpu.Regs.Rsi = FakeCpu.DataAddress + 3;
        _cpu.Regs.Rax = 5;
        _cpu.Memory.Write(Data + 3, 10UL);
        Run(Processor.Assemble(a => a.@lock.xadd(__[rsi], rax)));
        Assert.Equal(15UL, _cpu.Memory.Read<ulong>(Data + 3));
        Assert.Equal(10UL, _cpu.Regs.Rax);
    }

    [Fact]
    public void X87_pointers_name_the_guests_instruction()
    {
        byte[] code = Processor.Assemble(a => a.fld(__qword_ptr[rsi]));
        _cpu.Regs.Rsi = FakeCpu.DataAddress;
        Run(code);
        ulong pointer = BinaryPrimitives.ReadUInt64LittleEndian(_cpu.Xsave[8..]);
        Assert.True(pointer is 0 or FakeCpu.CodeAddress, $"FIP 0x{pointer:x}");
        if (pointer != 0)
        {
            Assert.Equal(FakeCpu.DataAddress, BinaryPrimitives.ReadUInt64LittleEndian(_cpu.Xsave[16..]));
        }
    }

    [Fact]
    public void Rows_of_vector_instructions_are_run_in_one_go()
    {
        byte[] code = Processor.Assemble(a =>
        {
            a.movdqu(xmm0, __[rsi]);
            a.paddd(xmm0, xmm0);
            a.add(rsi, 16);
            a.movdqu(__[rsi], xmm0);
            a.mov(__[rsi + 16], rsi);
            a.ret();
        });
        _cpu.Load(code);
        _cpu.Regs.Rsi = FakeCpu.DataAddress;
        _cpu.Memory.Write(Data, 0x0000_0003_0000_0002UL);
        Assert.Equal(AssistKind.Handled, _assist.TryHandle(code.AsSpan(0, 4)).Kind);
        Assert.Equal(0x0000_0006_0000_0004UL, _cpu.Memory.Read<ulong>(Data + 16));

        // The store from a general register is KVM's: it might be to a page table.
        Assert.Equal(0UL, _cpu.Memory.Read<ulong>(Data + 32));
        Assert.Equal(FakeCpu.CodeAddress + 4 + 4 + 4 + 4, _cpu.Regs.Rip);
        Assert.Equal(1, _cpu.XsaveStores);
    }

    [Fact]
    public void A_fault_in_a_row_is_the_guests()
    {
        byte[] code = Processor.Assemble(a =>
        {
            a.movdqu(xmm0, __[rsi]);
            a.movdqu(__[rdi], xmm0);
        });
        _cpu.Load(code);
        _cpu.Regs.Rsi = FakeCpu.DataAddress;
        _cpu.Regs.Rdi = FakeCpu.Hole;
        Assert.Equal(AssistKind.Injected, _assist.TryHandle(code).Kind);
        Assert.Equal((GuestFault.PfVector, true, 2u), _cpu.Injected);
        Assert.Equal(FakeCpu.CodeAddress + 4, _cpu.Regs.Rip);
    }
}

using System.Buffers.Binary;
using Iced.Intel;
using Vmm.Assist;
using Vmm.Devices.Memory;
using Vmm.Host;
using Vmm.Kvm.Abi;
using static Iced.Intel.AssemblerRegisters;

namespace Vmm.Tests.Assist;

/// <summary>The instructions that the assist does itself: against the processor where user mode has them, against
/// the manual where it has not.</summary>
public sealed class InstructionTests : IDisposable
{
    private readonly FakeCpu _cpu = new();
    private readonly Processor _processor = new();
    private readonly RandomState _random = new(23);
    private readonly InstructionAssist _assist;

    public InstructionTests() => _assist = new InstructionAssist(_cpu);

    private static GuestAddress Data => new(FakeCpu.DataAddress);

    public void Dispose()
    {
        _assist.Dispose();
        _processor.Dispose();
        _cpu.Dispose();
    }

    [Fact]
    public void Clac_and_stac_change_one_flag()
    {
        _cpu.Load([0x0F, 0x01, 0xCB, 0xF4]);    // HLT: KVM's
        _cpu.Regs.Rflags = 0x246;
        Run([0x0F, 0x01, 0xCB]);
        Assert.Equal(0x40246UL, _cpu.Regs.Rflags);
        Run([0x0F, 0x01, 0xCA]);
        Assert.Equal(0x246UL, _cpu.Regs.Rflags);
        Assert.Contains(("clac+stac", 2L), _assist.Counts);
    }

    [Fact]
    public void Stac_in_user_mode_is_undefined()
    {
        _cpu.Sregs.Cs.Selector = 0x33;
        ExpectFault([0x0F, 0x01, 0xCB], GuestFault.Ud);
    }

    [Fact]
    public void Compare_and_exchange_do_what_the_processor_does()
    {
        byte[] wide = Processor.Assemble(a => a.@lock.cmpxchg16b(__[rsi]));
        byte[] narrow = Processor.Assemble(a => a.@lock.cmpxchg8b(__[rsi]));
        for (int i = 0; i < 500; i++)
        {
            _random.Fill(_processor.Memory[..16]);
            _cpu.Memory.Write(Data, _processor.Memory[..16]);
            foreach (int register in (ReadOnlySpan<int>)[0, 1, 2, 3])
            {
                SetBoth(register, _random.Next64());
            }

            if (i % 2 == 0)
            {
                SetBoth(GuestRegisters.Rax, BinaryPrimitives.ReadUInt64LittleEndian(_processor.Memory));
                SetBoth(GuestRegisters.Rdx, BinaryPrimitives.ReadUInt64LittleEndian(_processor.Memory[8..]));
            }

            if (i % 4 == 3)
            {
                SetBoth(GuestRegisters.Rax, BinaryPrimitives.ReadUInt32LittleEndian(_processor.Memory));
                SetBoth(GuestRegisters.Rdx, BinaryPrimitives.ReadUInt32LittleEndian(_processor.Memory[4..]));
            }

            Compare(i % 3 == 0 ? narrow : wide, 16);
        }
    }

    [Fact]
    public void Cmpxchg16b_must_be_aligned()
    {
        _cpu.Regs.Rsi = FakeCpu.DataAddress + 8;
        ExpectFault(Processor.Assemble(a => a.cmpxchg16b(__[rsi])), GuestFault.GpVector, errorCode: 0);
    }

    [Fact]
    public void Cmpxchg8b_works_across_two_pages()
    {
        _cpu.Memory.Write(Data + 4093, 0x1122_3344_5566_7788UL);
        _cpu.Regs.Rsi = FakeCpu.DataAddress + 4093;
        _cpu.Regs.Rax = 0x5566_7788;
        _cpu.Regs.Rdx = 0x1122_3344;
        _cpu.Regs.Rbx = 0xAAAA_AAAA;
        _cpu.Regs.Rcx = 0xBBBB_BBBB;
        Run(Processor.Assemble(a => a.cmpxchg8b(__[rsi])));
        Assert.Equal(0xBBBB_BBBB_AAAA_AAAAUL, _cpu.Memory.Read<ulong>(Data + 4093));
        Assert.NotEqual(0UL, _cpu.Regs.Rflags & Bits.FlagZf);
    }

    [Fact]
    public void Fxsave_and_fxrstor_do_what_the_processor_does()
    {
        byte[][] saves = [Processor.Assemble(a => a.fxsave(__[rsi])), Processor.Assemble(a => a.fxsave64(__[rsi]))];
        byte[][] loads = [Processor.Assemble(a => a.fxrstor(__[rsi])), Processor.Assemble(a => a.fxrstor64(__[rsi]))];
        for (int i = 0; i < 200; i++)
        {
            _random.FillImage(_processor.Image, 7, 0x1F80u | (uint)_random.Next(64));
            _processor.Image[..Math.Min(_cpu.Xsave.Length, _processor.Image.Length)].CopyTo(_cpu.Xsave);
            _random.Fill(_processor.Memory[..512]);
            _cpu.Memory.Write(Data, _processor.Memory[..512]);
            Compare(saves[i & 1], 512);

            // Back from what the other side of the coin has just written, into other registers.
            _random.FillImage(_processor.Image, 7, 0x1F80);
            _processor.Image[..Math.Min(_cpu.Xsave.Length, _processor.Image.Length)].CopyTo(_cpu.Xsave);
            Compare(loads[i & 1], 512);
            Assert.True(_processor.Image[..416].SequenceEqual(_cpu.Xsave[..416]), $"round {i}");
        }
    }

    [Fact]
    public void Mxcsr_is_loaded_stored_and_checked()
    {
        byte[] load = Processor.Assemble(a => a.ldmxcsr(__[rsi])), store = Processor.Assemble(a => a.stmxcsr(__[rsi]));
        _cpu.Regs.Rsi = FakeCpu.DataAddress;
        _cpu.Memory.Write(Data, 0x3FBFu);
        Run(load);
        _cpu.Memory.Write(Data, 0u);
        Run(store);
        Assert.Equal(0x3FBFu, _cpu.Memory.Read<uint>(Data));
        Assert.Equal(2, _cpu.Xsave[512] & 2);
        _cpu.Memory.Write(Data, 0x8000_0000u);
        ExpectFault(load, GuestFault.GpVector, errorCode: 0);
        _cpu.Sregs.Cr0 |= Bits.Cr0Ts;
        ExpectFault(store, GuestFault.Nm);
        _cpu.Sregs.Cr4 &= ~Bits.Cr4OsFxsr;
        ExpectFault(store, GuestFault.Ud);
    }

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
    public void Segment_bases_are_read_and_written()
    {
        _cpu.Sregs.Gs.Base = 0xFFFF_8880_1234_5678;
        _cpu.Regs.Rcx = ulong.MaxValue;
        Run(Processor.Assemble(a => a.rdgsbase(rax)));
        Assert.Equal(0xFFFF_8880_1234_5678UL, _cpu.Regs.Rax);
        Run(Processor.Assemble(a => a.rdgsbase(ecx)));
        Assert.Equal(0x1234_5678UL, _cpu.Regs.Rcx);
        Run(Processor.Assemble(a => a.wrfsbase(rax)));
        Assert.Equal(_cpu.Regs.Rax, _cpu.Sregs.Fs.Base);
        Assert.True(_cpu.AreSregsDirty);
        _cpu.Regs.Rdx = 0x1234_0000_0000_0000;
        ExpectFault(Processor.Assemble(a => a.wrgsbase(rdx)), GuestFault.GpVector, errorCode: 0);
        Run(Processor.Assemble(a => a.swapgs()));
        Assert.Equal(0xFFFF_8880_0000_1000UL, _cpu.Sregs.Gs.Base);
        Assert.Equal(0xFFFF_8880_1234_5678UL, _cpu.Msrs[Msr.KernelGsBase]);
        _cpu.Sregs.Cr4 &= ~Bits.Cr4FsGsBase;
        ExpectFault(Processor.Assemble(a => a.rdfsbase(rax)), GuestFault.Ud);
    }

    [Fact]
    public void Extended_control_registers_are_read_written_and_checked()
    {
        SetBoth(GuestRegisters.Rcx, 0);
        Compare(Processor.Assemble(a => a.xgetbv()), 0);
        _cpu.Regs.Rax = 3;
        _cpu.Regs.Rdx = 0;
        Run(Processor.Assemble(a => a.xsetbv()));
        Assert.Equal(3UL, _cpu.Xcr0);
        _cpu.Regs.Rax = 2;
        ExpectFault(Processor.Assemble(a => a.xsetbv()), GuestFault.GpVector, errorCode: 0);
        _cpu.Regs.Rcx = 2;
        ExpectFault(Processor.Assemble(a => a.xgetbv()), GuestFault.GpVector, errorCode: 0);
    }

    [Fact]
    public void Hints_and_fences_only_advance()
    {
        byte[][] codes =
        [
            Processor.Assemble(a => a.endbr64()), Processor.Assemble(a => a.serialize()),
            Processor.Assemble(a => a.lfence()), Processor.Assemble(a => a.mfence()),
            Processor.Assemble(a => a.sfence()), Processor.Assemble(a => a.prefetcht0(__[0])),
            Processor.Assemble(a => a.prefetchw(__[rdi])), Processor.Assemble(a => a.clflushopt(__[rdi])),
        ];
        _cpu.Regs.Rdi = FakeCpu.DataAddress;
        KvmRegs before = _cpu.Regs;
        foreach (byte[] code in codes)
        {
            Run(code);
            before.Rip = FakeCpu.CodeAddress + (ulong)code.Length;
            Assert.Equal(before, _cpu.Regs);
        }

        _cpu.Regs.Rdi = FakeCpu.Hole;
        ExpectFault(codes[^1], GuestFault.PfVector, errorCode: 0);
        Assert.Equal(FakeCpu.Hole, _cpu.Sregs.Cr2);
    }

    [RequiresFact(CpuidFeature.RDRAND)]
    public void Random_numbers_come_from_the_processor()
    {
        byte[] code = Processor.Assemble(a => a.rdrand(rax));
        Run(code);
        ulong first = _cpu.Regs.Rax;
        Run(code);
        Assert.NotEqual(first, _cpu.Regs.Rax);
        Assert.Equal(Bits.FlagCf, _cpu.Regs.Rflags & Bits.StatusFlags);
    }

    [RequiresFact(CpuidFeature.BMI2)]
    public void The_stack_pointer_is_an_operand_like_others()
    {
        _cpu.Regs.Rsp = 0x1234_5678_9ABC_DEF0;
        _cpu.Regs.Rbx = 0x1111;
        Run(Processor.Assemble(a => a.pdep(rax, rsp, rbx)));
        ulong withStack = _cpu.Regs.Rax;
        _cpu.Regs.Rcx = _cpu.Regs.Rsp;
        Run(Processor.Assemble(a => a.pdep(rax, rcx, rbx)));
        Assert.Equal(_cpu.Regs.Rax, withStack);
        Run(Processor.Assemble(a => a.add(rsp, 16)));
        Assert.Equal(0x1234_5678_9ABC_DF00UL, _cpu.Regs.Rsp);
        Assert.Equal(0x1111UL, _cpu.Regs.Rbx);
        Run(Processor.Assemble(a => a.movzx(ecx, spl)));
        Assert.Equal(0UL, _cpu.Regs.Rcx);
    }

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

    [Fact]
    public void Segment_limits_and_rights_are_looked_up()
    {
        _cpu.Sregs.Gdt = new KvmDtable { Base = 0x21000, Limit = 0x3F };
        _cpu.Memory.Write(new GuestAddress(0x21018), 0x00CF_9300_0000_FFFFUL);
        _cpu.Memory.Write(new GuestAddress(0x21020), 0x0000_9900_0000_0FFFUL);
        _cpu.Regs.Rcx = 0x18;
        Run(Processor.Assemble(a => a.lsl(eax, ecx)));
        Assert.Equal(0xFFFF_FFFFUL, _cpu.Regs.Rax);
        Run(Processor.Assemble(a => a.lar(eax, ecx)));
        Assert.Equal(0xCF_9300UL, _cpu.Regs.Rax);
        Run(Processor.Assemble(a => a.verw(cx)));
        Assert.NotEqual(0UL, _cpu.Regs.Rflags & Bits.FlagZf);
        _cpu.Regs.Rcx = 0x20;
        Run(Processor.Assemble(a => a.verr(cx)));
        Assert.Equal(0UL, _cpu.Regs.Rflags & Bits.FlagZf);
        _cpu.Regs.Rcx = 0x40;
        Run(Processor.Assemble(a => a.lsl(eax, ecx)));
        Assert.Equal(0UL, _cpu.Regs.Rflags & Bits.FlagZf);
        Assert.Equal(0xCF_9300UL, _cpu.Regs.Rax);
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

    private void SetBoth(int register, ulong value)
    {
        GuestRegisters.At(ref _cpu.Regs, register) = value;
        _processor.State.General[register] = value;
    }

    /// <summary>Runs on both sides, with RSI pointing at the operand; registers, flags and memory must agree.</summary>
    private void Compare(byte[] code, int length)
    {
        _cpu.Regs.Rsi = FakeCpu.DataAddress;
        _processor.State.General[GuestRegisters.Rsi] = _processor.MemoryAddress;
        _processor.State.Flags = 2;
        _cpu.Regs.Rflags = 2;
        _processor.Run(code);
        Run(code);
        for (int i = 0; i < 4; i++)
        {
            Assert.Equal(_processor.State.General[i], GuestRegisters.At(ref _cpu.Regs, i));
        }

        Assert.Equal(_processor.State.Flags & Bits.StatusFlags, _cpu.Regs.Rflags & Bits.StatusFlags);
        byte[] memory = new byte[length];
        _cpu.Memory.Read(Data, memory);
        Assert.Equal(_processor.Memory[..length].ToArray(), memory);
    }

    private void Run(byte[] code)
    {
        _cpu.Regs.Rip = FakeCpu.CodeAddress;
        _cpu.AreRegsDirty = false;
        AssistOutcome outcome = _assist.TryHandle(code);
        Assert.True(outcome.Kind == AssistKind.Handled, $"{Convert.ToHexString(code)}: {outcome} {_cpu.Injected}");
        Assert.Equal(FakeCpu.CodeAddress + (ulong)code.Length, _cpu.Regs.Rip);
        Assert.True(_cpu.AreRegsDirty);
    }

    private void ExpectFault(byte[] code, byte vector, uint? errorCode = null)
    {
        _cpu.Regs.Rip = FakeCpu.CodeAddress;
        KvmRegs before = _cpu.Regs;
        AssistOutcome outcome = _assist.TryHandle(code);
        Assert.True(outcome.Kind == AssistKind.Injected, $"{Convert.ToHexString(code)}: {outcome}");
        Assert.Equal((vector, errorCode is not null, errorCode ?? 0), _cpu.Injected);
        Assert.Equal(before, _cpu.Regs);
    }
}

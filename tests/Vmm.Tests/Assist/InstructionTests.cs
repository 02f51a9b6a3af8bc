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
public sealed partial class InstructionTests : IDisposable
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

            // FXRSTOR of what FXSAVE has just written, into other registers.
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

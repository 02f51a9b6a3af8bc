using Iced.Intel;
using Vmm.Assist;
using Vmm.Devices.Memory;
using Vmm.Host;
using Vmm.Tests.Shared;
using static Iced.Intel.AssemblerRegisters;

namespace Vmm.Tests.Assist;

/// <summary>From STAC to CLAC in one go: what is done is what the processor would do, what is not is left to KVM.</summary>
public sealed class AccessWindowTests : IDisposable
{
    private const ulong Source = 0x200000, Target = FakeCpu.DataAddress, AcFlag = Bits.FlagAc;

    private readonly FakeCpu _cpu = new();
    private readonly Processor _processor = new();
    private readonly RandomState _random = new(41);
    private readonly InstructionAssist _assist;

    public AccessWindowTests() => _assist = new InstructionAssist(_cpu);

    public void Dispose()
    {
        _assist.Dispose();
        _processor.Dispose();
        _cpu.Dispose();
    }

    [Fact]
    public void A_word_for_a_program_is_put_and_the_window_closed()
    {
        _cpu.Regs.Rax = 0x1122_3344_5566_7788;
        _cpu.Regs.Rcx = Target;
        int done = Run(a =>
        {
            a.stac();
            a.mov(__[rcx], rax);
            a.xor(ecx, ecx);
            a.clac();
            a.ret();
        });
        Assert.Equal(4, done);
        Assert.Equal(0x1122_3344_5566_7788UL, _cpu.Memory.Read<ulong>(new GuestAddress(Target)));
        Assert.Equal(0UL, _cpu.Regs.Rcx);
        Assert.Equal(Bits.FlagZf, _cpu.Regs.Rflags & (AcFlag | Bits.FlagZf));
        Assert.Equal([("clac+stac", 2L), ("between stac and clac", 2L)], _assist.Counts);
        Assert.True(_cpu.AreRegsDirty);
    }

    [Fact]
    public void A_faulting_instruction_is_left_to_KVM_unchanged()
    {
        _cpu.Regs.Rcx = FakeCpu.Hole;
        _cpu.Regs.Rdx = 77;
        int done = Run(a =>
        {
            a.stac();
            a.mov(rdx, __[rcx]);
            a.clac();
        });
        Assert.Equal(1, done);
        Assert.Equal(77UL, _cpu.Regs.Rdx);
        Assert.Null(_cpu.Injected);
        Assert.Equal(AcFlag, _cpu.Regs.Rflags & AcFlag);
        Assert.False(_cpu.AreSregsDirty);
    }

    [Fact]
    public void A_page_of_a_program_may_be_touched_in_the_window_only()
    {
        ulong tables = _cpu.Sregs.Cr3;
        foreach (ulong entry in (ReadOnlySpan<ulong>)[tables, tables + 0x1000, tables + 0x2000])
        {
            var address = new GuestAddress(entry);
            _cpu.Memory.Write(address, _cpu.Memory.Read<ulong>(address) | 4);
        }

        // All of the first 2 MiB is the program's now; the kernel may not run there (SMEP), so its code moves.
        _cpu.Regs.Rcx = Target;
        byte[] code = Processor.Assemble(a =>
        {
            a.stac();
            a.inc(__dword_ptr[rcx]);
            a.clac();
            a.inc(__dword_ptr[rcx]);
        });
        _cpu.Memory.Write(new GuestAddress(Source), code);
        _cpu.Regs.Rip = Source;
        Assert.Equal(AssistKind.Handled, _assist.TryHandle(code).Kind);
        Assert.Equal(Source + 3 + 2 + 3, _cpu.Regs.Rip);
        Assert.Equal(1u, _cpu.Memory.Read<uint>(new GuestAddress(Target)));

        // Nor would it be done without the flag.
        LinearMemory memory = new AssistContext(_cpu).Memory;
        Assert.Equal(AccessResult.Fault, memory.Probe(Target, 4, Access.Write));
        _cpu.Regs.Rflags |= AcFlag;
        Assert.Equal(AccessResult.Ok, memory.Probe(Target, 4, Access.Write));
    }

    [Fact]
    public void Branches_go_where_the_processor_goes()
    {
        for (int condition = 0; condition < 16; condition++)
        {
            for (int i = 0; i < 64; i++)
            {
                // Each combination of the flags that conditions look at; SETcc says what the processor makes of them.
                ulong flags = ((i & 1) != 0 ? Bits.FlagCf : 0) | ((i & 2) != 0 ? Bits.FlagPf : 0)
                    | ((i & 4) != 0 ? Bits.FlagZf : 0) | ((i & 8) != 0 ? Bits.FlagSf : 0)
                    | ((i & 16) != 0 ? Bits.FlagOf : 0) | ((i & 32) != 0 ? Bits.FlagAf : 0);
                _processor.State.General[GuestRegisters.Rax] = 0;
                _processor.State.Flags = flags | 2;
                _processor.Run([0x0F, (byte)(0x90 + condition), 0xC0]);
                bool isTaken = _processor.State.General[GuestRegisters.Rax] != 0;

                // STAC; Jcc over HLT; HLT: KVM's either way.
                byte[] code = [0x0F, 0x01, 0xCB, (byte)(0x70 + condition), 0x01, 0xF4, 0xF4];
                _cpu.Load(code);
                _cpu.Regs.Rflags = flags | 2;
                Assert.Equal(AssistKind.Handled, _assist.TryHandle(code).Kind);
                Assert.Equal(FakeCpu.CodeAddress + (isTaken ? 6u : 5u), _cpu.Regs.Rip);
            }
        }
    }

    [Fact]
    public void Linuxs_copy_is_done_whole_whatever_its_length_and_place()
    {
        byte[] code = Copy(out int end);
        byte[] expected = new byte[3 * 4096], got = new byte[3 * 4096];
        for (int i = 0; i < 300; i++)
        {
            int length = _random.Next(i % 3 == 0 ? 20 : 6000);
            ulong from = (ulong)_random.Next(4096), to = (ulong)_random.Next(4096);
            _random.Fill(expected);
            _cpu.Memory.Write(new GuestAddress(Source), expected);
            byte[] source = expected[(int)from..((int)from + length)];
            _random.Fill(expected);
            _cpu.Memory.Write(new GuestAddress(Target), expected);
            source.CopyTo(expected.AsSpan((int)to));

            _cpu.Load(code);
            _cpu.Regs.Rsi = Source + from;
            _cpu.Regs.Rdi = Target + to;
            _cpu.Regs.Rdx = (ulong)length;
            _cpu.Regs.Rflags = 2;
            Assert.Equal(AssistKind.Handled, _assist.TryHandle(code).Kind);
            Assert.Equal(FakeCpu.CodeAddress + (ulong)end, _cpu.Regs.Rip);
            Assert.Equal((0UL, Source + from + (ulong)length, Target + to + (ulong)length, 0UL),
                (_cpu.Regs.Rcx, _cpu.Regs.Rsi, _cpu.Regs.Rdi, _cpu.Regs.Rax));
            _cpu.Memory.Read(new GuestAddress(Target), got);
            Assert.Equal(expected, got);
        }
    }

    [Fact]
    public void String_instructions_do_what_the_processor_does()
    {
        byte[][] all =
        [
            Processor.Assemble(a => a.movsb()), Processor.Assemble(a => a.movsw()), Processor.Assemble(a => a.movsd()),
            Processor.Assemble(a => a.movsq()), Processor.Assemble(a => a.rep.movsb()),
            Processor.Assemble(a => a.rep.movsw()), Processor.Assemble(a => a.rep.movsd()),
            Processor.Assemble(a => a.rep.movsq()), Processor.Assemble(a => a.stosb()),
            Processor.Assemble(a => a.stosw()), Processor.Assemble(a => a.stosd()), Processor.Assemble(a => a.stosq()),
            Processor.Assemble(a => a.rep.stosb()), Processor.Assemble(a => a.rep.stosw()),
            Processor.Assemble(a => a.rep.stosd()), Processor.Assemble(a => a.rep.stosq()),
        ];
        byte[] got = new byte[4096];
        for (int i = 0; i < 800; i++)
        {
            byte[] instruction = all[i % all.Length];

            // Within one page, often one on top of the other: then the order of elements matters.
            int from = _random.Next(2000), to = i % 2 == 0 ? from + _random.Next(40) - 20 : _random.Next(2000);
            to = Math.Max(0, to);
            _random.Fill(_processor.Memory[..4096]);
            _cpu.Memory.Write(new GuestAddress(Target), _processor.Memory[..4096]);
            ulong value = _random.Next64(), count = (ulong)_random.Next(200);
            SetBoth(GuestRegisters.Rax, value);
            SetBoth(GuestRegisters.Rcx, count);
            _processor.State.General[GuestRegisters.Rsi] = _processor.MemoryAddress + (ulong)from;
            _processor.State.General[GuestRegisters.Rdi] = _processor.MemoryAddress + (ulong)to;
            _processor.State.Flags = 2;
            _processor.Run(instruction);

            _cpu.Load([0x0F, 0x01, 0xCB, .. instruction, 0xF4]);
            _cpu.Regs.Rsi = Target + (ulong)from;
            _cpu.Regs.Rdi = Target + (ulong)to;
            _cpu.Regs.Rflags = 2;
            Assert.Equal(AssistKind.Handled, _assist.TryHandle([0x0F, 0x01, 0xCB]).Kind);
            Assert.Equal(FakeCpu.CodeAddress + 3 + (ulong)instruction.Length, _cpu.Regs.Rip);
            Assert.Equal(_processor.State.General[GuestRegisters.Rcx], _cpu.Regs.Rcx);
            Assert.Equal(_processor.State.General[GuestRegisters.Rsi] - _processor.MemoryAddress, _cpu.Regs.Rsi - Target);
            Assert.Equal(_processor.State.General[GuestRegisters.Rdi] - _processor.MemoryAddress, _cpu.Regs.Rdi - Target);
            _cpu.Memory.Read(new GuestAddress(Target), got);
            Assert.Equal(_processor.Memory[..4096].ToArray(), got);
        }
    }

    [Fact]
    public void A_copy_into_a_hole_stops_at_its_edge_and_can_go_on()
    {
        // The last page of the 4 MiB that are mapped, then nothing.
        ulong edge = FakeCpu.MemorySize;
        _cpu.Regs.Rsi = Source;
        _cpu.Regs.Rdi = edge - 24;
        _cpu.Regs.Rcx = 10;
        int done = Run(a =>
        {
            a.stac();
            a.rep.movsq();
            a.clac();
        });
        Assert.Equal(1, done);
        Assert.Equal((7UL, Source + 24, edge), (_cpu.Regs.Rcx, _cpu.Regs.Rsi, _cpu.Regs.Rdi));
        Assert.Null(_cpu.Injected);
    }

    [Fact]
    public void An_element_across_the_edge_of_a_hole_is_KVMs()
    {
        _cpu.Regs.Rsi = Source;
        _cpu.Regs.Rdi = FakeCpu.MemorySize - 6;
        _cpu.Regs.Rcx = 2;
        Assert.Equal(1, Run(a =>
        {
            a.stac();
            a.rep.movsq();
            a.clac();
        }));
        Assert.Equal((2UL, FakeCpu.MemorySize - 6), (_cpu.Regs.Rcx, _cpu.Regs.Rdi));
    }

    [Fact]
    public void Downwards_with_a_segment_or_with_narrow_addresses_it_is_KVMs()
    {
        byte[][] all = [[0xF3, 0x64, 0xA4], [0xF3, 0x67, 0xA4], [0x67, 0xAA], [0xF2, 0xA4]];
        foreach (byte[] instruction in all)
        {
            _cpu.Regs.Rsi = Source;
            _cpu.Regs.Rdi = Target;
            _cpu.Regs.Rcx = 4;
            Load([0x0F, 0x01, 0xCB, .. instruction]);
            Assert.Equal(FakeCpu.CodeAddress + 3, _cpu.Regs.Rip);
        }

        _cpu.Regs.Rflags |= Bits.FlagDf;
        Load([0x0F, 0x01, 0xCB, 0xF3, 0xA4]);
        Assert.Equal((FakeCpu.CodeAddress + 3, 4UL), (_cpu.Regs.Rip, _cpu.Regs.Rcx));
    }

    [Fact]
    public void Addresses_are_computed_as_the_processor_computes_them()
    {
        byte[][] all =
        [
            Processor.Assemble(a => a.lea(rax, __[rbx + (rcx * 8) - 0x1234])),
            Processor.Assemble(a => a.lea(eax, __[rbx + (rcx * 4) + 7])),
            Processor.Assemble(a => a.lea(rax, __[ebx + (ecx * 2) + 7])),
        ];
        for (int i = 0; i < 300; i++)
        {
            foreach (int register in (ReadOnlySpan<int>)[0, 1, 3])
            {
                SetBoth(register, _random.Next64());
            }

            byte[] instruction = all[i % all.Length];
            _processor.Run(instruction);
            Load([0x0F, 0x01, 0xCB, .. instruction, 0xF4]);
            Assert.Equal(_processor.State.General[GuestRegisters.Rax], _cpu.Regs.Rax);
            Assert.Equal(FakeCpu.CodeAddress + 3 + (ulong)instruction.Length, _cpu.Regs.Rip);
        }
    }

    [Fact]
    public void A_window_that_is_never_closed_ends_nonetheless_and_a_long_copy_makes_no_interrupt_wait()
    {
        Load([0x0F, 0x01, 0xCB, 0xEB, 0xFE]);
        Assert.Equal(FakeCpu.CodeAddress + 3, _cpu.Regs.Rip);

        // 1 MiB: the first 64 KiB of it are done, as much as in another exit.
        _cpu.Regs.Rdi = Source;
        _cpu.Regs.Rcx = 1 << 20;
        Load([0x0F, 0x01, 0xCB, 0xF3, 0xAA]);
        Assert.Equal((FakeCpu.CodeAddress + 3, (1UL << 20) - (64 << 10)), (_cpu.Regs.Rip, _cpu.Regs.Rcx));
    }

    [Fact]
    public void A_kernel_that_is_stepped_gets_each_step()
    {
        _cpu.Regs.Rflags |= Bits.FlagTf;
        Load([0x0F, 0x01, 0xCB, 0x90, 0x0F, 0x01, 0xCA]);
        Assert.Equal(FakeCpu.CodeAddress + 3, _cpu.Regs.Rip);
    }

    [Fact]
    public void Memory_that_is_a_devices_is_KVMs()
    {
        _cpu.Memory.Write(new GuestAddress(_cpu.Sregs.Cr3 + 0x1008), 0xC000_0083UL);
        _cpu.Regs.Rcx = 0x4000_0000;
        Assert.Equal(1, Run(a =>
        {
            a.stac();
            a.mov(__[rcx], rax);
        }));
        _cpu.Regs.Rdi = 0x4000_0000;
        Assert.Equal(1, Run(a =>
        {
            a.stac();
            a.stosd();
        }));
    }

    [Fact]
    public void Nothing_is_allocated_for_a_window()
    {
        byte[] code = Copy(out _);
        Assert.Equal(0, Allocations.Least(() =>
        {
            for (int i = 0; i < 100; i++)
            {
                _cpu.Load(code);
                _cpu.Regs.Rsi = Source;
                _cpu.Regs.Rdi = Target + 1;
                _cpu.Regs.Rdx = 1001;
                _ = _assist.TryHandle(code);
            }
        }));
    }

    /// <summary>As Linux copies from and to programs where strings are fast: to an aligned target by bytes, the most of it by
    /// words, the rest by bytes.</summary>
    private static byte[] Copy(out int end)
    {
        var assembler = new Assembler(64);
        Label bytes = assembler.CreateLabel(), aligned = assembler.CreateLabel(), align = assembler.CreateLabel();
        assembler.stac();
        assembler.cmp(edx, 8);
        assembler.jb(bytes);
        assembler.mov(ecx, edi);
        assembler.and(ecx, 7);
        assembler.je(aligned);
        assembler.sub(ecx, 8);
        assembler.neg(ecx);
        assembler.sub(edx, ecx);
        assembler.Label(ref align);
        assembler.mov(al, __[rsi]);
        assembler.mov(__[rdi], al);
        assembler.lea(rsi, __[rsi + 1]);
        assembler.lea(rdi, __[rdi + 1]);
        assembler.dec(ecx);
        assembler.jne(align);
        assembler.Label(ref aligned);
        assembler.mov(ecx, edx);
        assembler.shr(ecx, 3);
        assembler.and(edx, 7);
        assembler.rep.movsq();
        assembler.Label(ref bytes);
        assembler.mov(ecx, edx);
        assembler.rep.movsb();
        assembler.xor(eax, eax);
        assembler.clac();
        assembler.nop();
        using var output = new MemoryStream();
        assembler.Assemble(new StreamCodeWriter(output), FakeCpu.CodeAddress);
        end = (int)output.Length - 1;
        return [.. output.ToArray()[..^1], 0xC3];
    }

    private void SetBoth(int register, ulong value)
    {
        GuestRegisters.At(ref _cpu.Regs, register) = value;
        _processor.State.General[register] = value;
    }

    private void Load(byte[] code)
    {
        _cpu.Load(code);
        Assert.Equal(AssistKind.Handled, _assist.TryHandle(code).Kind);
    }

    /// <summary>Assists with the first instruction.</summary>
    /// <returns>How many instructions RIP has gone on by.</returns>
    private int Run(Action<Assembler> write)
    {
        byte[] code = Processor.Assemble(write);
        Load(code);
        var decoder = Decoder.Create(64, code, FakeCpu.CodeAddress);
        int count = 0;
        for (; decoder.IP < _cpu.Regs.Rip; count++)
        {
            decoder.Decode();
        }

        Assert.Equal(_cpu.Regs.Rip, decoder.IP);
        return count;
    }
}

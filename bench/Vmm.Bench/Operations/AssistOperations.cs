using Iced.Intel;
using Vmm.Assist;
using Vmm.Devices.Memory;
using Vmm.Tests.Assist;
using static Iced.Intel.AssemblerRegisters;

namespace Vmm.Bench.Operations;

/// <summary>The assist's cost for each instruction, without KVM: decode, look up, do, advance.</summary>
internal static class AssistOperations
{
    public const string Group = "Assist";

    /// <summary>Instructions that need nothing special of the processor, or say what they need.</summary>
    public static IReadOnlyList<AssistedInstruction> Instructions { get; } =
    [
        new("CLAC", code => code.clac()),
        new("STAC", code => code.stac()),
        new("POPCNT", code => code.popcnt(rax, __qword_ptr[rsi]), CpuidFeature.POPCNT),
        new("CMPXCHG16B", code => code.@lock.cmpxchg16b(__[rsi]), CpuidFeature.CMPXCHG16B),
        new("XSAVE", code => code.xsave64(__[rsi]), CpuidFeature.XSAVE),
        new("XSAVEC", code => code.xsavec64(__[rsi]), CpuidFeature.XSAVEC),
        new("XSAVES", code => code.xsaves64(__[rsi]), CpuidFeature.XSAVES),
        new("XRSTOR", code => code.xrstor64(__[rsi]), CpuidFeature.XSAVE) { Before = code => code.xsave64(__[rsi]) },
        new("XRSTORS", code => code.xrstors64(__[rsi]), CpuidFeature.XSAVES) { Before = code => code.xsaves64(__[rsi]) },
        new("FXSAVE", code => code.fxsave64(__[rsi])),
        new("LDMXCSR", code => code.ldmxcsr(__dword_ptr[rsi])) { Before = code => code.stmxcsr(__dword_ptr[rsi]) },
        new("STMXCSR", code => code.stmxcsr(__dword_ptr[rsi])),
        new("FWAIT", code => code.wait()),
        new("SWAPGS", code => code.swapgs()),
        new("RDFSBASE", code => code.rdfsbase(rax), CpuidFeature.FSGSBASE),
        new("WRFSBASE", code => code.wrfsbase(rbx), CpuidFeature.FSGSBASE),
        new("XGETBV", code => code.xgetbv(), CpuidFeature.XSAVE),
        new("RDTSCP", code => code.rdtscp(), CpuidFeature.RDTSCP),
        new("ENDBR64", code => code.endbr64()),
        new("LFENCE", code => code.lfence()),
        new("CRC32", code => code.crc32(rax, rbx), CpuidFeature.SSE4_2),
        new("BSF", code => code.bsf(rax, rbx)),
        new("MOVDQU load", code => code.movdqu(xmm1, __xmmword_ptr[rsi]), CpuidFeature.SSE2),
        new("MOVDQU store", code => code.movdqu(__xmmword_ptr[rsi], xmm1), CpuidFeature.SSE2),
        new("PXOR", code => code.pxor(xmm1, xmm2), CpuidFeature.SSE2),
        new("AESENC", code => code.aesenc(xmm1, xmm2), CpuidFeature.AES),
        new("PCLMULQDQ", code => code.pclmulqdq(xmm1, xmm2, 0), CpuidFeature.PCLMULQDQ),
        new("VMOVDQU load", code => code.vmovdqu(ymm1, __ymmword_ptr[rsi]), CpuidFeature.AVX),
        new("VPADDD", code => code.vpaddd(ymm1, ymm2, ymm3), CpuidFeature.AVX2),
        new("VPXORQ (512)", code => code.vpxorq(zmm1, zmm2, zmm3), CpuidFeature.AVX512F),
    ];

    public static IReadOnlyList<OperationEntry> All { get; } =
    [
        .. Instructions.Where(each => each.IsHere)
            .Select(each => new OperationEntry(Group, each.Name, () => new OnFakeCpu(each))),
        new(Group, "ten SIMD instructions in a row", () => new OnFakeCpu(new("VPXOR row", Row, CpuidFeature.AVX2))),
        new(Group, "STAC, a word put, CLAC", () => new OnFakeCpu(new("put", PutWord))),
        new(Group, "STAC, 4 KiB copied, CLAC", () => new OnFakeCpu(new("copy", CopyPage))),
    ];

    private static void Row(Assembler code)
    {
        code.vmovdqu(ymm0, __ymmword_ptr[rsi]);
        for (int i = 0; i < 4; i++)
        {
            code.vpxor(ymm1, ymm1, ymm0);
            code.vpaddd(ymm2, ymm2, ymm1);
        }

        code.vmovdqu(__ymmword_ptr[rsi + 32], ymm2);
    }

    private static void PutWord(Assembler code)
    {
        code.stac();
        code.mov(__[rsi], rax);
        code.xor(ecx, ecx);
        code.clac();
    }

    private static void CopyPage(Assembler code)
    {
        code.stac();
        code.lea(rdi, __[rsi + 0x2000]);
        code.mov(ecx, 512);
        code.rep.movsq();
        code.lea(rsi, __[rsi - 0x1000]);
        code.clac();
    }

    private sealed class OnFakeCpu : Operation
    {
        private const int MaxLength = 15;

        private readonly FakeCpu _cpu = new();
        private readonly InstructionAssist _assist;
        private readonly byte[] _first = new byte[MaxLength];

        public OnFakeCpu(AssistedInstruction instruction)
        {
            _assist = new InstructionAssist(_cpu);
            _cpu.Regs.Rsi = FakeCpu.DataAddress;
            _cpu.Regs.Rax = _cpu.Regs.Rdx = ~0UL;
            _cpu.Regs.Rbx = 0x1234_5678_9abc;
            _cpu.Regs.Rcx = 0;
            if (instruction.Before is { } before)
            {
                Load(Assemble(before));
                Run(1);
            }

            Load(Assemble(instruction.Write));
        }

        public override void Run(int count)
        {
            for (int i = 0; i < count; i++)
            {
                _cpu.Regs.Rip = FakeCpu.CodeAddress;
                if (_assist.TryHandle(_first).Kind != AssistKind.Handled)
                {
                    throw new InvalidOperationException("the assist did not finish the instruction");
                }
            }
        }

        protected override void Release()
        {
            _assist.Dispose();
            _cpu.Dispose();
        }

        private void Load(byte[] code)
        {
            _cpu.Load(code);
            _cpu.Memory.Read(new GuestAddress(FakeCpu.CodeAddress), _first);
        }

        /// <summary>Followed by HLT, at which the assist does not go on by itself.</summary>
        private static byte[] Assemble(Action<Assembler> write)
        {
            var assembler = new Assembler(64);
            write(assembler);
            assembler.hlt();
            assembler.hlt();
            using var bytes = new MemoryStream();
            assembler.Assemble(new StreamCodeWriter(bytes), FakeCpu.CodeAddress);
            return bytes.ToArray();
        }
    }
}

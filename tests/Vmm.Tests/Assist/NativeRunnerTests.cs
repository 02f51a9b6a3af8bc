using System.Buffers.Binary;
using Iced.Intel;
using Vmm.Assist;
using Vmm.Devices.Memory;
using Vmm.Host;
using Xunit.Abstractions;

namespace Vmm.Tests.Assist;

/// <summary>Everything that the decoder knows and the allow-list lets pass, over all opcode maps, is executed by the
/// assist and by this processor as it stands, and must come out the same.</summary>
public sealed class NativeRunnerTests(ITestOutputHelper output)
{
    private const int Rounds = 3, EvexRounds = 8;

    // Counted are the kinds that need no more than these, so that the number is the same on every processor that has them.
    private static readonly HashSet<CpuidFeature> Legacy =
    [
        CpuidFeature.INTEL8086, CpuidFeature.INTEL186, CpuidFeature.INTEL286, CpuidFeature.INTEL386, CpuidFeature.INTEL486, CpuidFeature.X64,
        CpuidFeature.CMOV, CpuidFeature.SSE, CpuidFeature.SSE2, CpuidFeature.SSE3, CpuidFeature.SSSE3, CpuidFeature.SSE4_1,
        CpuidFeature.SSE4_2, CpuidFeature.POPCNT, CpuidFeature.MULTIBYTENOP, CpuidFeature.CX8,
    ];

    private static readonly HashSet<CpuidFeature> Vex = [CpuidFeature.AVX];
    private static readonly HashSet<CpuidFeature> Evex = [CpuidFeature.AVX512F, CpuidFeature.AVX512VL, CpuidFeature.AVX512BW, CpuidFeature.AVX512DQ];

    [Theory]
    [InlineData(0, 343)]
    [InlineData(1, 356)]
    [InlineData(2, 65)]
    [InlineData(3, 31)]
    public void Legacy_encodings_do_what_this_processor_does(int map, int kinds)
    {
        using var sweep = new Sweep(seed: 100 + map);
        for (int round = 0; round < Rounds; round++)
        {
            for (int opcode = 0; opcode < 256; opcode++)
            {
                foreach (byte prefix in (ReadOnlySpan<byte>)[0, 0x66, 0xF2, 0xF3])
                {
                    for (int rex = 0; rex < 2; rex++)
                    {
                        for (int reg = 0; reg < 8; reg++)
                        {
                            sweep.TryLegacy(map, opcode, prefix, isWide: rex == 1, reg);
                        }
                    }
                }
            }
        }

        sweep.Report(output);
        Assert.Equal(kinds, sweep.CountOf(Legacy));
    }

    [RequiresTheory(CpuidFeature.AVX)]
    [InlineData(1, 259)]
    [InlineData(2, 63)]
    [InlineData(3, 45)]
    public void Vex_encodings_do_what_this_processor_does(int map, int kinds)
    {
        using var sweep = new Sweep(seed: 200 + map);
        for (int round = 0; round < Rounds; round++)
        {
            for (int opcode = 0; opcode < 256; opcode++)
            {
                for (int form = 0; form < 16; form++)
                {
                    sweep.TryVex(map, opcode, pp: form & 3, w: form >> 2 & 1, l: form >> 3);
                }
            }
        }

        sweep.Report(output);
        Assert.Equal(kinds, sweep.CountOf(Vex));
    }

    [RequiresTheory(CpuidFeature.AVX512F, CpuidFeature.AVX512VL, CpuidFeature.AVX512BW, CpuidFeature.AVX512DQ)]
    [InlineData(1, 521)]
    [InlineData(2, 518)]
    [InlineData(3, 131)]
    [InlineData(5, 0)]
    [InlineData(6, 0)]
    public void Evex_encodings_do_what_this_processor_does(int map, int kinds)
    {
        using var sweep = new Sweep(seed: 300 + map);
        for (int round = 0; round < EvexRounds; round++)
        {
            for (int opcode = 0; opcode < 256; opcode++)
            {
                for (int form = 0; form < 32; form++)
                {
                    sweep.TryEvex(map, opcode, pp: form & 3, w: form >> 2 & 1, l: form >> 3);
                }
            }
        }

        sweep.Report(output);

        // Maps 5 and 6 are AVX512_FP16's, which few have: of these features there is nothing in them.
        Assert.Equal(kinds, sweep.CountOf(Evex));
    }

    /// <summary>Builds encodings, runs them on both sides and compares.</summary>
    private sealed class Sweep(int seed) : IDisposable
    {
        private const int DataLength = 256;

        private readonly RandomState _random = new(seed);
        private readonly Encodings _encodings = new(new RandomState(seed + 1));
        private readonly FakeCpu _cpu = new();
        private readonly Processor _processor = new();
        private readonly HashSet<Code> _codes = [];
        private readonly SortedSet<string> _refused = [];
        private InstructionAssist? _assist;
        private int _runs;

        /// <summary>Kinds of instruction that were run and need no other feature than these.</summary>
        public int CountOf(HashSet<CpuidFeature> features) => _codes.Count(code => code.CpuidFeatures().ToArray().All(features.Contains));

        public void Report(ITestOutputHelper output)
        {
            output.WriteLine($"{_runs} runs of {_codes.Count} kinds of instruction");
            output.WriteLine("not run: " + string.Join(' ', _refused));
        }

        public void Dispose()
        {
            _assist?.Dispose();
            _processor.Dispose();
            _cpu.Dispose();
        }

        public void TryLegacy(int map, int opcode, byte prefix, bool isWide, int reg) =>
            Try(_encodings.Legacy(map, opcode, prefix, isWide, reg));

        public void TryVex(int map, int opcode, int pp, int w, int l) =>
            Try(_encodings.Vex(map, opcode, pp, w, l));

        public void TryEvex(int map, int opcode, int pp, int w, int l) =>
            Try(_encodings.Evex(map, opcode, pp, w, l));

        private void Try(bool isInstruction)
        {
            if (isInstruction)
            {
                Try(in _encodings.Instruction, _encodings.Code);
            }
        }

        private void Try(in Instruction instruction, ReadOnlySpan<byte> code)
        {
            if (NativeAllowList.Ask(in instruction) != FeatureAnswer.Present)
            {
                _refused.Add(instruction.Mnemonic.ToString());
                return;
            }

            if (instruction.Mnemonic is Mnemonic.Rdrand or Mnemonic.Rdseed || !Encodings.IsFit(in instruction))
            {
                return;
            }

            _codes.Add(instruction.Code);
            _runs++;
            Prepare(Encodings.HasMemory(in instruction));

            _processor.Run(code);
            _assist ??= new InstructionAssist(_cpu);
            AssistOutcome outcome = _assist.TryHandle(code);
            string name = $"{instruction} ({Convert.ToHexString(code)}), run {_runs}";
            Assert.True(outcome.Kind == AssistKind.Handled, $"{name}: {outcome} {_cpu.Injected}");
            Compare(name);
        }

        private void Prepare(bool hasMemory)
        {
            for (int i = 0; i < GuestRegisters.Count; i++)
            {
                ulong value = _random.Next(4) == 0 ? (ulong)_random.Next(256) : _random.Next64();
                _processor.State.General[i] = value;
                GuestRegisters.At(ref _cpu.Regs, i) = value;
            }

            if (hasMemory)
            {
                _processor.State.General[GuestRegisters.Rbx] = _processor.MemoryAddress;
                _cpu.Regs.Rbx = FakeCpu.DataAddress;
            }

            ulong flags = _random.Next64() & Bits.StatusFlags | 2;
            _processor.State.Flags = flags;
            _cpu.Regs.Rflags = flags;
            _cpu.Regs.Rip = FakeCpu.CodeAddress;
            _cpu.Injected = null;

            uint mxcsr = 0x1F80 | (uint)_random.Next(4) << 13 | (uint)_random.Next(2) << 6 | (uint)_random.Next(2) << 15
                | (uint)_random.Next(64);
            _random.FillImage(_processor.Image, _random.Next(4) == 0 ? _random.Next64() : ulong.MaxValue, mxcsr);
            _processor.Image[..Math.Min(_processor.Image.Length, _cpu.Xsave.Length)].CopyTo(_cpu.Xsave);
            _random.FillVector(_processor.Memory[..DataLength]);
            _cpu.Memory.Write(new GuestAddress(FakeCpu.DataAddress), _processor.Memory[..DataLength]);
        }

        private void Compare(string name)
        {
            for (int i = 0; i < GuestRegisters.Count; i++)
            {
                if (i is not GuestRegisters.Rsp && _processor.State.General[i] != GuestRegisters.At(ref _cpu.Regs, i)
                    && _processor.State.General[i] != _processor.MemoryAddress)
                {
                    Assert.Fail($"{name}: register {i}: 0x{_processor.State.General[i]:x} natively, "
                        + $"0x{GuestRegisters.At(ref _cpu.Regs, i):x} by the assist");
                }
            }

            ulong flags = (_processor.State.Flags ^ _cpu.Regs.Rflags) & Bits.StatusFlags;
            Assert.True(flags == 0, $"{name}: flags 0x{flags:x} differ");
            Span<byte> memory = stackalloc byte[DataLength];
            _cpu.Memory.Read(new GuestAddress(FakeCpu.DataAddress), memory);
            Assert.True(memory.SequenceEqual(_processor.Memory[..DataLength]), $"{name}: memory differs: natively "
                + $"{Convert.ToHexString(_processor.Memory[..64])}, by the assist {Convert.ToHexString(memory[..64])}");
            CompareImages(name);
        }

        private void CompareImages(string name)
        {
            Span<byte> expected = _processor.Image, actual = _cpu.Xsave;
            ulong mine = BinaryPrimitives.ReadUInt64LittleEndian(actual[XsaveLayout.HeaderOffset..]);

            // What is in its initial configuration has no contents that count; both sides write the initial ones.
            CompareBytes(name, "x87 control", expected[..6], actual[..6]);
            CompareBytes(name, "MXCSR", expected.Slice(24, 4), actual.Slice(24, 4));
            CompareBytes(name, "x87 registers", expected.Slice(32, 128), actual.Slice(32, 128));
            CompareBytes(name, "XMM", expected.Slice(160, 256), actual.Slice(160, 256));
            for (int i = 2; i < 8; i++)
            {
                XsaveLayout.Component component = XsaveLayout.Host[i];
                if ((NativeEntry.Components >> i & 1) != 0)
                {
                    CompareBytes(
                        name, $"component {i} (in use: {mine >> i & 1})",
                        expected.Slice(component.Offset, component.Size),
                        actual.Slice(component.Offset, component.Size));
                }
            }
        }

        private static void CompareBytes(string name, string what, ReadOnlySpan<byte> expected, ReadOnlySpan<byte> actual)
        {
            int at = expected.CommonPrefixLength(actual);
            if (at < expected.Length)
            {
                int length = Math.Min(16, expected.Length - at);
                Assert.Fail($"{name}: {what} differs at byte {at}: "
                    + $"{Convert.ToHexString(expected.Slice(at, length))} natively, "
                    + $"{Convert.ToHexString(actual.Slice(at, length))} by the assist");
            }
        }
    }
}

using System.Buffers.Binary;
using System.Runtime.InteropServices;
using Iced.Intel;
using Vmm.Assist;
using Vmm.Devices.Memory;
using Xunit.Abstractions;

namespace Vmm.Tests.Assist;

/// <summary>Do natively run instructions fault where this processor makes them fault?</summary>
public sealed class NativeFaultTests(ITestOutputHelper output) : IDisposable
{
    private const uint Sigsegv = 11, Sigfpe = 8;
    private const int MaxShown = 40;

    private readonly FakeCpu _cpu = new();
    private readonly RandomState _random = new(31);
    private readonly List<byte[]> _codes = [];
    private readonly List<FaultOracle.Case> _cases = [];

    public void Dispose() => _cpu.Dispose();

    [Fact]
    public void Misaligned_operands_fault_where_the_processor_faults()
    {
        if (FaultOracle.Missing is { } reason)
        {
            output.WriteLine("SKIPPED: " + reason);
            return;
        }

        var seen = new HashSet<Code>();
        Sweep(isMemoryOnly: true, (in Instruction instruction, ReadOnlySpan<byte> code) =>
        {
            // With elements masked out, processors differ in whether the rest must be aligned.
            if (!instruction.HasOpMask && seen.Add(instruction.Code))
            {
                Add(code, offset: 65, 0x1F80);
            }
        });

        Span<FaultOracle.Case> cases = CollectionsMarshal.AsSpan(_cases);
        FaultOracle.Run(cases);
        using var assist = new InstructionAssist(_cpu);
        var wrong = new List<string>();
        int faults = 0;
        for (int i = 0; i < cases.Length; i++)
        {
            AssistOutcome outcome = Play(assist, in cases[i], _codes[i]);
            bool isSame = cases[i].Signal == 0
                ? outcome.Kind == AssistKind.Handled
                : cases[i].Signal == Sigsegv && _cpu.Injected == (GuestFault.GpVector, true, 0u);
            if (!isSame)
            {
                wrong.Add($"{Name(_codes[i])}: signal {cases[i].Signal}, {outcome.Kind} {_cpu.Injected}");
            }

            faults += cases[i].Signal == 0 ? 0 : 1;
        }

        output.WriteLine($"{cases.Length} instructions, {faults} fault");
        Assert.True(wrong.Count == 0, string.Join('\n', wrong.Take(MaxShown)));
        Assert.InRange(faults, 50, cases.Length);
    }

    [Fact]
    public void Floating_point_exceptions_are_those_of_the_processor()
    {
        if (FaultOracle.Missing is { } reason)
        {
            output.WriteLine("SKIPPED: " + reason);
            return;
        }

        Sweep(isMemoryOnly: false, (in Instruction instruction, ReadOnlySpan<byte> code) =>
        {
            const NativeUnits Vectors = NativeUnits.Sse | NativeUnits.Vex | NativeUnits.Evex;
            NativeUnits units = NativeAllowList.Units(in instruction);
            // Dot products look for exceptions after each of their steps, and which flags they leave varies.
            bool isDotProduct = instruction.Mnemonic is Mnemonic.Dpps or Mnemonic.Dppd or Mnemonic.Vdpps or Mnemonic.Vdppd;
            if ((units & Vectors) != 0 && (units & NativeUnits.Mmx) == 0 && !isDotProduct && !TakesPointerAsNumber(in instruction))
            {
                uint masks = (uint)_random.Next(64), control = (uint)_random.Next(8) << 13;
                Add(code, offset: 64, masks << 7 | control | (uint)_random.Next(2) << 6 | (uint)_random.Next(64) & ~masks);
            }
        });

        Span<FaultOracle.Case> cases = CollectionsMarshal.AsSpan(_cases);
        FaultOracle.Run(cases);
        using var assist = new InstructionAssist(_cpu);
        var wrong = new List<string>();
        int faults = 0;
        for (int i = 0; i < cases.Length; i++)
        {
            uint before = MxcsrOf(in cases[i]);
            AssistOutcome outcome = Play(assist, in cases[i], _codes[i]);
            uint after = SseControl.Read(_cpu.Xsave);
            bool isSame = cases[i].Signal == 0
                ? outcome.Kind == AssistKind.Handled
                : cases[i].Signal == Sigfpe && _cpu.Injected == (GuestFault.Xm, false, 0u);

            // Precision beside an unmasked overflow or underflow is judged with an unlimited exponent.
            const uint Precision = 1 << 5, Range = 3 << 3;
            uint ignored = cases[i].Signal != 0 && (~before >> 7 & after & Range) != 0 ? Precision : 0;
            if (!isSame || ((cases[i].Mxcsr ^ after) & ~ignored) != 0)
            {
                wrong.Add($"{Name(_codes[i])}: MXCSR {before:x}, signal {cases[i].Signal}, {outcome.Kind} "
                    + $"{_cpu.Injected}, MXCSR {cases[i].Mxcsr:x} natively, {after:x} by the assist");
            }

            faults += cases[i].Signal == Sigfpe ? 1 : 0;
        }

        output.WriteLine($"{cases.Length} instructions, {faults} fault");
        Assert.True(wrong.Count == 0, string.Join('\n', wrong.Take(MaxShown)));
        Assert.InRange(faults, 50, cases.Length);
    }

    /// <summary>RBX points at the operand, which lies elsewhere in the C program than here: as a number it would not
    /// be the same in both.</summary>
    private static bool TakesPointerAsNumber(in Instruction instruction)
    {
        for (int i = 0; i < instruction.OpCount; i++)
        {
            if (instruction.GetOpKind(i) == OpKind.Register && instruction.GetOpRegister(i).GetFullRegister() == Register.RBX)
            {
                return true;
            }
        }

        return false;
    }

    private static string Name(byte[] code)
    {
        var decoder = Decoder.Create(64, new ByteArrayCodeReader(code));
        return $"{decoder.Decode()} ({Convert.ToHexString(code)})";
    }

    private delegate void Visit(in Instruction instruction, ReadOnlySpan<byte> code);

    private void Sweep(bool isMemoryOnly, Visit visit)
    {
        var encodings = new Encodings(_random) { IsMemoryOnly = isMemoryOnly };
        for (int opcode = 0; opcode < 256; opcode++)
        {
            for (int map = 1; map <= 3; map++)
            {
                for (int form = 0; form < 32; form++)
                {
                    int pp = form & 3, w = form >> 2 & 1, l = form >> 3;
                    byte prefix = pp switch { 0 => (byte)0, 1 => (byte)0x66, 2 => (byte)0xF3, _ => (byte)0xF2 };
                    VisitIf(encodings, form < 8 && encodings.Legacy(map, opcode, prefix, w != 0, _random.Next(8)), visit);
                    VisitIf(encodings, l < 2 && encodings.Vex(map, opcode, pp, w, l), visit);
                    VisitIf(encodings, encodings.Evex(map, opcode, pp, w, l), visit);
                }
            }
        }
    }

    private static void VisitIf(Encodings encodings, bool isInstruction, Visit visit)
    {
        if (isInstruction && NativeAllowList.Ask(in encodings.Instruction) == FeatureAnswer.Present
            && Encodings.IsFit(in encodings.Instruction)
            && encodings.Instruction.Mnemonic is not Mnemonic.Rdrand and not Mnemonic.Rdseed)
        {
            visit(in encodings.Instruction, encodings.Code);
        }
    }

    private unsafe void Add(ReadOnlySpan<byte> code, uint offset, uint mxcsr)
    {
        FaultOracle.Case item = default;
        var image = new Span<byte>(item.Image, FaultOracle.Case.ImageLength);
        _random.FillImage(image, ulong.MaxValue, mxcsr);
        SprinkleNumbers(image[XsaveLayout.XmmOffset..(XsaveLayout.XmmOffset + 256)]);
        for (int i = 2; i < 8; i++)
        {
            XsaveLayout.Component component = XsaveLayout.Host[i];
            if (i != 5 && (NativeEntry.Components >> i & 1) != 0)
            {
                SprinkleNumbers(image.Slice(component.Offset, component.Size));
            }
        }

        SprinkleNumbers(new Span<byte>(item.Memory, FaultOracle.Case.MemoryLength));
        var slot = new Span<byte>(item.Code, 16);
        slot.Fill(0xCC);
        code.CopyTo(slot);
        slot[code.Length] = 0xC3;
        item.Offset = offset;
        _cases.Add(item);
        _codes.Add(code.ToArray());
    }

    /// <summary>Numbers at the borders: zeros, infinities, quiet and signalling NaNs, denormals, the largest and the
    /// smallest.</summary>
    private void SprinkleNumbers(Span<byte> bytes)
    {
        ReadOnlySpan<uint> singles =
            [0, 0x8000_0000, 0x7F80_0000, 0x7FC0_0001, 0x7F80_0001, 1, 0x0080_0000, 0x7F7F_FFFF, 0x3F80_0000, 0x3F00_0001];
        ReadOnlySpan<ulong> doubles =
            [0, 1UL << 63, 0x7FF0UL << 48, 0x7FF8UL << 48, 0x7FF0UL << 48 | 1, 1, 0x10UL << 48, 0x7FEF_FFFF_FFFF_FFFF,
             0x3FF0UL << 48, 0x3FE0_0000_0000_0001];
        for (int i = 0; i + 8 <= bytes.Length; i += 8)
        {
            if (_random.Next(2) == 0)
            {
                BinaryPrimitives.WriteUInt32LittleEndian(bytes[i..], singles[_random.Next(singles.Length)]);
                BinaryPrimitives.WriteUInt32LittleEndian(bytes[(i + 4)..], singles[_random.Next(singles.Length)]);
            }
            else
            {
                BinaryPrimitives.WriteUInt64LittleEndian(bytes[i..], doubles[_random.Next(doubles.Length)]);
            }
        }
    }

    private static unsafe uint MxcsrOf(in FaultOracle.Case item)
    {
        fixed (byte* image = item.Image)
        {
            return *(uint*)(image + XsaveLayout.MxcsrOffset);
        }
    }

    private unsafe AssistOutcome Play(InstructionAssist assist, in FaultOracle.Case item, byte[] code)
    {
        fixed (byte* image = item.Image, memory = item.Memory)
        {
            new ReadOnlySpan<byte>(image, FaultOracle.Case.ImageLength).CopyTo(_cpu.Xsave);
            _cpu.Memory.Write(
                new GuestAddress(FakeCpu.DataAddress), new ReadOnlySpan<byte>(memory, FaultOracle.Case.MemoryLength));
        }

        _cpu.Regs = default;
        _cpu.Regs.Rflags = 2;
        _cpu.Regs.Rbx = FakeCpu.DataAddress + item.Offset;
        _cpu.Regs.Rax = _cpu.Regs.Rdx = ulong.MaxValue;
        _cpu.Regs.Rip = FakeCpu.CodeAddress;
        _cpu.Injected = null;
        return assist.TryHandle(code);
    }
}

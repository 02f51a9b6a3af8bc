using System.Buffers.Binary;
using System.Numerics;
using Iced.Intel;
using Vmm.Assist;
using Vmm.Devices.Memory;
using Vmm.Host;
using Xunit.Abstractions;
using static Iced.Intel.AssemblerRegisters;

namespace Vmm.Tests.Assist;

/// <summary>The XSAVE family against this processor's own.</summary>
public sealed partial class XsaveTests(ITestOutputHelper output) : IDisposable
{
    private const int AreaLength = 4096;

    private readonly FakeCpu _cpu = new();
    private readonly Processor _processor = new();
    private readonly RandomState _random = new(7);

    public void Dispose()
    {
        _processor.Dispose();
        _cpu.Dispose();
    }

    [Theory]
    [InlineData("xsave")]
    [InlineData("xsave64")]
    [InlineData("xsaveopt")]
    [InlineData("xsaveopt64")]
    [InlineData("xsavec")]
    [InlineData("xsavec64")]
    public void Saving_writes_the_bytes_that_the_processor_writes(string name)
    {
        byte[]? code = Encode(name);
        if (code is null)
        {
            output.WriteLine($"SKIPPED: this processor has no {name}");
            return;
        }

        using var assist = new InstructionAssist(_cpu);
        for (int i = 0; i < 500; i++)
        {
            PrepareImages();
            _random.Fill(_processor.Memory[..AreaLength]);
            Start(_random.Next64());
            RunSurely(code);
            Assert.Equal(AssistKind.Handled, assist.TryHandle(code).Kind);
            AssertAreasEqual($"{name} round {i}");
        }
    }

    [Theory]
    [InlineData("xrstor", false)]
    [InlineData("xrstor64", false)]
    [InlineData("xrstor64", true)]
    public void Restoring_leaves_the_state_that_the_processor_has(string name, bool isCompacted)
    {
        byte[] code = Encode(name)!;
        if (isCompacted && Encode("xsavec64") is null)
        {
            output.WriteLine("SKIPPED: this processor has no compacted format");
            return;
        }

        using var assist = new InstructionAssist(_cpu);
        for (int i = 0; i < 500; i++)
        {
            PrepareImages();
            PrepareArea(isCompacted);
            Start(_random.Next64());
            RunSurely(code);
            AssistOutcome outcome = assist.TryHandle(code);
            Assert.True(outcome.Kind == AssistKind.Handled, $"{name} round {i}: {outcome} {_cpu.Injected}");
            AssertStatesEqual($"{name} round {i}");
        }
    }

    [Fact]
    public void Supervisor_forms_use_the_compacted_layout()
    {
        byte[]? reference = Encode("xsavec64");
        if (reference is null)
        {
            output.WriteLine("SKIPPED: this processor has no XSAVEC to compare with");
            return;
        }

        using var assist = new InstructionAssist(_cpu);
        for (int i = 0; i < 200; i++)
        {
            PrepareImages();
            _random.Fill(_processor.Memory[..AreaLength]);
            _processor.Memory.Slice(512, 64).Clear();                 // XSAVEC leaves reserved bytes as they are
            Start(_random.Next64());
            _processor.Run(reference);
            Assert.Equal(AssistKind.Handled, assist.TryHandle(Encode("xsaves64")).Kind);
            AssertAreasEqual($"xsaves64 round {i}");

            byte[] before = _cpu.Xsave.ToArray();
            ulong requested = _cpu.Xcr0 & (_cpu.Regs.Rdx << 32 | (uint)_cpu.Regs.Rax);
            _cpu.Regs.Rip = FakeCpu.CodeAddress;
            Assert.Equal(AssistKind.Handled, assist.TryHandle(Encode("xrstors64")).Kind);
            _cpu.Xsave[24..28].CopyTo(before.AsSpan(24));
            AssertSameWhereInUse(before, _cpu.Xsave, requested, $"xrstors64 round {i}");
        }
    }

    [Fact]
    public void Shadow_stack_state_comes_from_its_registers()
    {
        var layout = SapphireRapids();
        _cpu.Msrs[Msr.Xss] = 1 << XsaveLayout.CetUser | 1 << XsaveLayout.CetSupervisor;
        _cpu.Msrs[Msr.UCet] = 0x1234;
        _cpu.Msrs[Msr.Pl3Ssp] = 0x7FFF_0000;
        _cpu.Xcr0 = 3;
        var context = new AssistContext(_cpu);
        var xsave = new XsaveInstructions(context, layout);
        Decode(context, Encode("xsaves64")!);
        Start(0x1803);
        Assert.Equal(Step.Next, xsave.Save(SaveKind.Xsaves, isWide: true));

        var area = new GuestAddress(FakeCpu.DataAddress);
        Assert.Equal(1UL << XsaveLayout.CetUser, _cpu.Memory.Read<ulong>(area + 512) & 0x1800);
        Assert.Equal(XsaveLayout.Compacted | 0x1803, _cpu.Memory.Read<ulong>(area + 520));
        Assert.Equal(0x1234UL, _cpu.Memory.Read<ulong>(area + 576));
        Assert.Equal(0x7FFF_0000UL, _cpu.Memory.Read<ulong>(area + 584));

        _cpu.Msrs[Msr.UCet] = 1;
        _cpu.Msrs[Msr.Pl0Ssp] = 5;
        Decode(context, Encode("xrstors64")!);
        Assert.Equal(Step.Next, xsave.Restore(isSupervisor: true, isWide: true));
        Assert.Equal(0x1234UL, _cpu.Msrs[Msr.UCet]);
        Assert.Equal(0UL, _cpu.Msrs[Msr.Pl0Ssp]);
    }

    [Fact]
    public void Compacted_offsets_of_a_processor_with_amx_are_right()
    {
        XsaveLayout layout = SapphireRapids();

        // Components 2, 5, 6, 7, 9, 17 and 18: 576 + 256 + 64 + 512 + 1024 + 8 = 2440; 17 starts at the next multiple of 64.
        ulong all = XsaveLayout.Compacted | 0x602E7;
        Assert.Equal(576, layout.CompactedOffset(all, 2));
        Assert.Equal(832, layout.CompactedOffset(all, 5));
        Assert.Equal(896, layout.CompactedOffset(all, 6));
        Assert.Equal(1408, layout.CompactedOffset(all, 7));
        Assert.Equal(2432, layout.CompactedOffset(all, 9));
        Assert.Equal(2496, layout.CompactedOffset(all, 17));
        Assert.Equal(2560, layout.CompactedOffset(all, 18));
        Assert.Equal(576, layout.CompactedOffset(XsaveLayout.Compacted | 1 << 18, 18));
    }

    private static XsaveLayout SapphireRapids() => new(subleaf => subleaf switch
    {
        0 => new CpuidAnswer(0x602E7, 11008, 11008, 0),
        1 => new CpuidAnswer(0x1F, 0, 0x1900, 0),
        2 => new CpuidAnswer(256, 576, 0, 0),
        5 => new CpuidAnswer(64, 1088, 0, 0),
        6 => new CpuidAnswer(512, 1152, 0, 0),
        7 => new CpuidAnswer(1024, 1664, 0, 0),
        8 => new CpuidAnswer(128, 0, 1, 0),
        9 => new CpuidAnswer(8, 2688, 0, 0),
        11 => new CpuidAnswer(16, 0, 1, 0),
        12 => new CpuidAnswer(24, 0, 1, 0),
        17 => new CpuidAnswer(64, 2752, 2, 0),
        18 => new CpuidAnswer(8192, 2816, 6, 0),
        _ => default,
    });

    private static byte[]? Encode(string name)
    {
        uint features = (uint)System.Runtime.Intrinsics.X86.X86Base.CpuId(0xD, 1).Eax;
        if ((name.StartsWith("xsaveopt", StringComparison.Ordinal) && (features & 1) == 0)
            || (name.StartsWith("xsavec", StringComparison.Ordinal) && (features & 2) == 0))
        {
            return null;
        }

        return Processor.Assemble(a =>
        {
            switch (name)
            {
                case "xsave": a.xsave(__[rbx]); break;
                case "xsave64": a.xsave64(__[rbx]); break;
                case "xsaveopt": a.xsaveopt(__[rbx]); break;
                case "xsaveopt64": a.xsaveopt64(__[rbx]); break;
                case "xsavec": a.xsavec(__[rbx]); break;
                case "xsavec64": a.xsavec64(__[rbx]); break;
                case "xsaves64": a.xsaves64(__[rbx]); break;
                case "xrstor": a.xrstor(__[rbx]); break;
                case "xrstor64": a.xrstor64(__[rbx]); break;
                default: a.xrstors64(__[rbx]); break;
            }
        });
    }

    private static void Decode(AssistContext context, byte[] code)
    {
        var decoder = Decoder.Create(64, new ByteArrayCodeReader(code));
        decoder.IP = FakeCpu.CodeAddress;
        decoder.Decode(out context.Instruction);
    }

    private void PrepareImages()
    {
        uint mxcsr = _random.Next(3) == 0 ? XsaveLayout.MxcsrInitial : 0x1F80u | (uint)_random.Next(64);
        _random.FillImage(_processor.Image, _random.Next64(), mxcsr);

        // A component that holds its initial values may or may not count as in use: not to be compared.
        ulong inUse = BinaryPrimitives.ReadUInt64LittleEndian(_processor.Image[XsaveLayout.HeaderOffset..]);
        for (int i = 1; i < 8; i++)
        {
            if ((inUse >> i & 1) != 0)
            {
                (i == 1 ? _processor.Image.Slice(160, 256) : Part(_processor.Image, i))[3] |= 1;
            }
        }

        _processor.Image[..Math.Min(_processor.Image.Length, _cpu.Xsave.Length)].CopyTo(_cpu.Xsave);
    }

    /// <summary>An area to load from: what XSAVE64 or XSAVEC64 of other random state makes.</summary>
    private void PrepareArea(bool isCompacted)
    {
        byte[] image = _processor.Image.ToArray();
        _random.FillImage(_processor.Image, _random.Next64(), 0x1F80u | (uint)_random.Next(64));
        _processor.Memory[..AreaLength].Clear();
        ulong requested = _random.Next64();
        _processor.State.General[GuestRegisters.Rax] = (uint)requested;
        _processor.State.General[GuestRegisters.Rdx] = requested >> 32;
        _processor.State.General[GuestRegisters.Rbx] = _processor.MemoryAddress;
        if (isCompacted)
        {
            _processor.Run(Encode("xsavec64")!);
        }
        else
        {
            // All of it is written, so that MXCSR is valid.
            _processor.State.General[GuestRegisters.Rax] = uint.MaxValue;
            _processor.Run(Encode("xsave64")!);
            BinaryPrimitives.WriteUInt64LittleEndian(
                _processor.Memory[512..], BinaryPrimitives.ReadUInt64LittleEndian(_processor.Memory[512..]) & requested);
        }

        image.CopyTo(_processor.Image);
    }

    /// <summary>The same registers and area on both sides.</summary>
    private void Start(ulong requested)
    {
        _cpu.Regs.Rax = (uint)requested;
        _cpu.Regs.Rdx = requested >> 32;
        _cpu.Regs.Rbx = FakeCpu.DataAddress;
        _cpu.Regs.Rip = FakeCpu.CodeAddress;
        _cpu.Injected = null;
        _processor.State.General[GuestRegisters.Rax] = (uint)requested;
        _processor.State.General[GuestRegisters.Rdx] = requested >> 32;
        _processor.State.General[GuestRegisters.Rbx] = _processor.MemoryAddress;
        _processor.State.Flags = 2;
        _cpu.Memory.Write(new GuestAddress(FakeCpu.DataAddress), _processor.Memory[..AreaLength]);
    }

    /// <summary>Has the processor do it until it does the same twice. Where MXCSR alone of SSE is in use, a PVM host lost it
    /// once, in some hundred thousand rounds: in a change of process between loading the state and the instruction.</summary>
    private void RunSurely(byte[] code)
    {
        byte[] memory = _processor.Memory.ToArray(), image = _processor.Image.ToArray();
        byte[]? before = null;
        for (int i = 0; i < 5; i++)
        {
            memory.CopyTo(_processor.Memory);
            image.CopyTo(_processor.Image);
            _processor.Run(code);
            byte[] now = [.. _processor.Memory, .. _processor.Image];
            if (before is not null && now.AsSpan().SequenceEqual(before))
            {
                return;
            }

            before = now;
        }
    }

    private void AssertAreasEqual(string name)
    {
        byte[] area = new byte[AreaLength];
        _cpu.Memory.Read(new GuestAddress(FakeCpu.DataAddress), area);
        int at = _processor.Memory[..AreaLength].CommonPrefixLength(area);
        Assert.True(at == AreaLength, $"{name}: byte {at} is {area[Math.Min(at, AreaLength - 1)]:x2}, the processor "
            + $"writes {_processor.Memory[Math.Min(at, AreaLength - 1)]:x2}; RFBM {_cpu.Regs.Rax:x}");
    }

    private void AssertStatesEqual(string name)
    {
        Span<byte> expected = _processor.Image, actual = _cpu.Xsave;
        ulong inUse = BinaryPrimitives.ReadUInt64LittleEndian(expected[512..])
            | BinaryPrimitives.ReadUInt64LittleEndian(actual[512..]);
        Assert.True(expected[..32].SequenceEqual(actual[..32]), $"{name}: x87 control or MXCSR: "
            + $"{Convert.ToHexString(expected[..32])} natively, {Convert.ToHexString(actual[..32])} by the assist");
        AssertSameWhereInUse(expected, actual, inUse, name);
    }

    private static void AssertSameWhereInUse(
        ReadOnlySpan<byte> expected, ReadOnlySpan<byte> actual, ulong components, string name)
    {
        for (ulong left = components & NativeEntry.Components; left != 0; left &= left - 1)
        {
            int i = BitOperations.TrailingZeroCount(left);
            Assert.True(Part(expected, i).SequenceEqual(Part(actual, i)), $"{name}: component {i}");
        }
    }

    private static ReadOnlySpan<byte> Part(ReadOnlySpan<byte> image, int component) => component switch
    {
        0 => image.Slice(32, 128),
        1 => image.Slice(160, 256),
        _ => image.Slice(XsaveLayout.Host[component].Offset, XsaveLayout.Host[component].Size),
    };

    private static Span<byte> Part(Span<byte> image, int component) =>
        image.Slice(XsaveLayout.Host[component].Offset, XsaveLayout.Host[component].Size);
}

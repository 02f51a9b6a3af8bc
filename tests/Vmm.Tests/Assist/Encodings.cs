using Iced.Intel;
using Vmm.Assist;

namespace Vmm.Tests.Assist;

/// <summary>Makes instructions from opcode maps, with random operands: registers, or memory at [RBX].</summary>
internal sealed class Encodings(RandomState random)
{
    private const int MaxLength = 15;

    private readonly byte[] _code = new byte[MaxLength + 9];

    /// <summary>The last one made.</summary>
    public Instruction Instruction;

    /// <summary>Its bytes.</summary>
    public ReadOnlySpan<byte> Code => _code.AsSpan(0, Instruction.Length);

    /// <summary>Only memory operands, no registers in their place.</summary>
    public bool IsMemoryOnly { get; init; }

    /// <returns>false if there is no such instruction.</returns>
    public bool Legacy(int map, int opcode, byte prefix, bool isWide, int reg)
    {
        int at = 0;
        if (prefix != 0)
        {
            _code[at++] = prefix;
        }

        int extension = random.Next(2);
        if (isWide || random.Next(4) == 0)
        {
            _code[at++] = (byte)(0x40 | (isWide ? 8 : 0) | extension << 2);
        }

        if (map > 0)
        {
            _code[at++] = 0x0F;
        }

        if (map > 1)
        {
            _code[at++] = map == 2 ? (byte)0x38 : (byte)0x3A;
        }

        _code[at++] = (byte)opcode;
        return Finish(at, reg);
    }

    public bool Vex(int map, int opcode, int pp, int w, int l)
    {
        _code[0] = 0xC4;
        _code[1] = (byte)(0x60 | random.Next(2) << 7 | map);
        _code[2] = (byte)(w << 7 | (random.Next(2) == 0 ? 15 : random.Next(16)) << 3 | l << 2 | pp);
        _code[3] = (byte)opcode;
        return Finish(4, random.Next(8));
    }

    public bool Evex(int map, int opcode, int pp, int w, int l)
    {
        bool hasMask = random.Next(2) == 0;
        bool usesV = random.Next(2) == 0;
        _code[0] = 0x62;
        _code[1] = (byte)(0x60 | random.Next(2) << 7 | random.Next(2) << 4 | map);
        _code[2] = (byte)(w << 7 | (usesV ? random.Next(16) : 15) << 3 | 4 | pp);
        _code[3] = (byte)((hasMask ? random.Next(2) << 7 : 0) | l << 5 | (random.Next(3) == 0 ? 16 : 0) | 8
            | (hasMask ? 1 + random.Next(7) : 0));
        _code[4] = (byte)opcode;
        return Finish(5, random.Next(8));
    }

    /// <summary>The processor runs the guest's bytes unchanged: so without RSP, and without RBX as an operand while it
    /// is the pointer.</summary>
    public static bool IsFit(in Instruction instruction)
    {
        bool isFit = true;
        foreach (UsedRegister register in new InstructionInfoFactory().GetInfo(in instruction).GetUsedRegisters())
        {
            isFit &= register.Register.GetFullRegister() != Register.RSP;
        }

        for (int i = 0; i < instruction.OpCount; i++)
        {
            if (instruction.GetOpKind(i) == OpKind.Memory)
            {
                isFit &= instruction.MemoryBase == Register.RBX && instruction.MemoryIndex == Register.None
                    && instruction.MemoryDisplacement64 == 0 && instruction.MemorySegment == Register.DS;
            }
            else if (instruction.GetOpKind(i) == OpKind.Register)
            {
                isFit &= instruction.GetOpRegister(i).GetFullRegister() != Register.RBX || !HasMemory(in instruction);
            }
        }

        return isFit;
    }

    public static bool HasMemory(in Instruction instruction)
    {
        for (int i = 0; i < instruction.OpCount; i++)
        {
            if (instruction.GetOpKind(i) == OpKind.Memory)
            {
                return true;
            }
        }

        return false;
    }

    /// <summary>ModRM: a register, or [RBX]; then room for an immediate.</summary>
    private bool Finish(int at, int reg)
    {
        int rm = random.Next(2) == 0 && !IsMemoryOnly ? 0xC0 | random.Next(8) : GuestRegisters.Rbx;
        _code[at++] = (byte)(rm | reg << 3);
        random.Fill(_code.AsSpan(at));
        var decoder = Decoder.Create(64, new ByteArrayCodeReader(_code, 0, MaxLength));
        decoder.IP = FakeCpu.CodeAddress;
        decoder.Decode(out Instruction);
        return !Instruction.IsInvalid;
    }
}

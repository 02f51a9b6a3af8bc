using Iced.Intel;

namespace Vmm.Assist;

/// <summary>The register sets besides the general ones that an instruction uses, which must be enabled.</summary>
[Flags]
internal enum NativeUnits
{
    None = 0,
    X87 = 1,
    Mmx = 2,
    Sse = 4,
    Vex = 8,
    Evex = 16,
}

/// <summary>How the elements of a memory operand are selected.</summary>
internal enum ElementMask
{
    /// <summary>All are accessed.</summary>
    None,

    /// <summary>By an opmask register, element by element (Intel SDM volume 2, 2.7.4).</summary>
    Opmask,

    /// <summary>By the number of bits in an opmask register: compress and expand.</summary>
    OpmaskCount,

    /// <summary>By the sign bits of a vector register: VMASKMOV and VPMASKMOV.</summary>
    Vector,
}

/// <summary>What is known about an instruction before it is run natively: whether it may be, its re-encoded form, its
/// requirements. Made once per encoding.</summary>
internal sealed class NativePlan
{
    /// <summary>May the instruction run? If not, the rest is not set.</summary>
    public FeatureAnswer Answer { get; private init; }

    /// <summary>The re-encoded instruction: the memory operand, if any, is [<see cref="Pointer"/>].</summary>
    public nint Code { get; set; }

    public NativeUnits Units { get; private init; }

    /// <summary>Number of the general register that points at the memory operand; -1 if there is none.</summary>
    public int Pointer { get; private init; } = -1;

    /// <summary>Number of the general register that replaces RSP; -1 if RSP is no operand.</summary>
    public int StackReplacement { get; private init; } = -1;

    /// <summary>Bytes of the memory operand.</summary>
    public int Size { get; private init; }

    /// <summary>Alignment that the operand must have or #GP: 1 for none.</summary>
    public int Alignment { get; private init; } = 1;

    /// <summary>Does <see cref="Alignment"/> hold even with AMD's MXCSR.MM set?</summary>
    public bool IsAlignedMove { get; private init; }

    public bool ReadsMemory { get; private init; }

    public bool WritesMemory { get; private init; }

    /// <summary>With a LOCK prefix, or XCHG: atomically on the guest's memory itself.</summary>
    public bool IsLocked { get; private init; }

    /// <summary>Does it wait for pending x87 exceptions?</summary>
    public bool Waits { get; private init; }

    /// <summary>Does it change the instruction and data pointers?</summary>
    public bool IsX87 => (Units & NativeUnits.X87) != 0;

    public ElementMask Mask { get; private init; }

    /// <summary>Are elements of the result taken from other positions in memory? Then a masked operand is read as a
    /// whole (the exception classes "NF" of Intel SDM volume 2, 2.8).</summary>
    public bool MixesElements { get; private init; }

    /// <summary>Number of the register that is the <see cref="Mask"/>.</summary>
    public int MaskRegister { get; private init; }

    /// <summary>Bytes of one element of the memory operand.</summary>
    public int ElementSize { get; private init; }

    /// <summary>Elements of the operation: more than memory holds, if they are broadcast from there.</summary>
    public int Lanes { get; private init; }

    /// <summary>Examines an instruction and re-encodes it.</summary>
    /// <param name="instruction">As the guest has it.</param>
    /// <param name="encode">Installs the new one.</param>
    public static NativePlan Make(in Instruction instruction, EncodeInstruction encode)
    {
        FeatureAnswer answer = NativeAllowList.Ask(in instruction);
        if (answer != FeatureAnswer.Present)
        {
            return new NativePlan { Answer = answer };
        }

        InstructionInfo info = new InstructionInfoFactory().GetInfo(in instruction);
        var operands = NativeOperands.Choose(in instruction, in info);
        Instruction rewritten = operands.Rewrite(in instruction);
        nint code = encode(in rewritten);
        if (code == 0)
        {
            return new NativePlan { Answer = FeatureAnswer.NotAllowed };
        }

        NativeUnits units = NativeAllowList.Units(in instruction);
        int memory = operands.MemoryOperand;
        OpAccess access = memory >= 0 ? info.GetOpAccess(memory) : OpAccess.None;
        MemorySize size = instruction.MemorySize;
        ElementMask mask = MaskOf(in instruction, memory);
        int elementSize = ElementSizeOf(in instruction);
        return new NativePlan
        {
            Answer = FeatureAnswer.Present,
            Code = code,
            Units = units,
            Pointer = operands.Pointer,
            StackReplacement = operands.StackReplacement,
            Size = memory >= 0 ? size.GetSize() : 0,
            Alignment = memory >= 0 ? NativeAllowList.Alignment(in instruction, units) : 1,
            IsAlignedMove = NativeAllowList.IsAlignedMove(instruction.Mnemonic),
            ReadsMemory = access is OpAccess.Read or OpAccess.CondRead or OpAccess.ReadWrite or OpAccess.ReadCondWrite,
            WritesMemory = access is OpAccess.Write or OpAccess.CondWrite or OpAccess.ReadWrite
                or OpAccess.ReadCondWrite,
            IsLocked = memory >= 0 && (instruction.HasLockPrefix || instruction.Mnemonic == Mnemonic.Xchg),
            Waits = (units & NativeUnits.Mmx) != 0
                || ((units & NativeUnits.X87) != 0 && !instruction.OpCode.IsFpuNoWait),
            Mask = mask,
            MixesElements = NativeAllowList.MixesElements(instruction.Mnemonic),
            MaskRegister = mask == ElementMask.Vector
                ? instruction.GetOpRegister(1).GetNumber()
                : instruction.OpMask.GetNumber(),
            ElementSize = elementSize,
            Lanes = (IsBroadcast(in instruction) ? VectorSize(in instruction) : size.GetSize()) / elementSize,
        };
    }

    private static ElementMask MaskOf(in Instruction instruction, int memory)
    {
        if (memory < 0)
        {
            return ElementMask.None;
        }

        switch (instruction.Mnemonic)
        {
            case Mnemonic.Vmaskmovps:
            case Mnemonic.Vmaskmovpd:
            case Mnemonic.Vpmaskmovd:
            case Mnemonic.Vpmaskmovq:
                return ElementMask.Vector;
            case Mnemonic.Vcompressps:
            case Mnemonic.Vcompresspd:
            case Mnemonic.Vpcompressb:
            case Mnemonic.Vpcompressw:
            case Mnemonic.Vpcompressd:
            case Mnemonic.Vpcompressq:
            case Mnemonic.Vexpandps:
            case Mnemonic.Vexpandpd:
            case Mnemonic.Vpexpandb:
            case Mnemonic.Vpexpandw:
            case Mnemonic.Vpexpandd:
            case Mnemonic.Vpexpandq:
                return instruction.HasOpMask ? ElementMask.OpmaskCount : ElementMask.None;
            default:
                return instruction.HasOpMask ? ElementMask.Opmask : ElementMask.None;
        }
    }

    private static bool IsBroadcast(in Instruction instruction) => instruction.IsBroadcast || instruction.Mnemonic
        is Mnemonic.Vbroadcastss or Mnemonic.Vbroadcastsd or Mnemonic.Vbroadcastf32x2 or Mnemonic.Vbroadcastf32x4
        or Mnemonic.Vbroadcastf32x8 or Mnemonic.Vbroadcastf64x2 or Mnemonic.Vbroadcastf64x4
        or Mnemonic.Vbroadcasti32x2 or Mnemonic.Vbroadcasti32x4 or Mnemonic.Vbroadcasti32x8
        or Mnemonic.Vbroadcasti64x2 or Mnemonic.Vbroadcasti64x4 or Mnemonic.Vpbroadcastb or Mnemonic.Vpbroadcastw
        or Mnemonic.Vpbroadcastd or Mnemonic.Vpbroadcastq;

    /// <summary>The decoder takes the operand of a narrowing store for one number.</summary>
    private static int ElementSizeOf(in Instruction instruction)
    {
        switch (instruction.Mnemonic)
        {
            case Mnemonic.Vpmovqb or Mnemonic.Vpmovsqb or Mnemonic.Vpmovusqb
                or Mnemonic.Vpmovdb or Mnemonic.Vpmovsdb or Mnemonic.Vpmovusdb
                or Mnemonic.Vpmovwb or Mnemonic.Vpmovswb or Mnemonic.Vpmovuswb:
                return 1;
            case Mnemonic.Vpmovqw or Mnemonic.Vpmovsqw or Mnemonic.Vpmovusqw
                or Mnemonic.Vpmovdw or Mnemonic.Vpmovsdw or Mnemonic.Vpmovusdw:
                return 2;
            case Mnemonic.Vpmovqd or Mnemonic.Vpmovsqd or Mnemonic.Vpmovusqd:
                return 4;
            default:
                return Math.Max(instruction.MemorySize.GetElementSize(), 1);
        }
    }

    /// <summary>The widest vector register among the operands.</summary>
    private static int VectorSize(in Instruction instruction)
    {
        int size = instruction.MemorySize.GetSize();
        for (int i = 0; i < instruction.OpCount; i++)
        {
            if (instruction.GetOpKind(i) == OpKind.Register && instruction.GetOpRegister(i).IsVectorRegister())
            {
                size = Math.Max(size, instruction.GetOpRegister(i).GetSize());
            }
        }

        return size;
    }
}

/// <summary>Encodes and installs an instruction; 0 if that is impossible.</summary>
internal delegate nint EncodeInstruction(in Instruction instruction);

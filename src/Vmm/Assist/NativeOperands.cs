using System.Numerics;
using Iced.Intel;

namespace Vmm.Assist;

/// <summary>Which general registers an instruction leaves free, and the instruction rewritten so that one of them
/// addresses its memory operand and another replaces RSP, which must stay this thread's.</summary>
internal readonly struct NativeOperands
{
    private const uint RspBit = 1 << GuestRegisters.Rsp;

    // RBX, RSI, RDI, RCX, RDX, RAX do without a REX prefix, which AH to BH cannot have; RBP and R13 need a
    // displacement and R12 an SIB byte.
    private static ReadOnlySpan<byte> Candidates => [3, 6, 7, 1, 2, 0, 8, 9, 10, 11, 14, 15];

    /// <summary>Index of the memory operand, or -1.</summary>
    public int MemoryOperand { get; private init; }

    /// <summary>Number of the register that points at it, or -1.</summary>
    public int Pointer { get; private init; }

    /// <summary>Number of the register that replaces RSP, or -1.</summary>
    public int StackReplacement { get; private init; }

    public static NativeOperands Choose(in Instruction instruction, in InstructionInfo info)
    {
        uint used = RspBit;
        foreach (UsedRegister register in info.GetUsedRegisters())
        {
            Register full = register.Register.GetFullRegister();
            if (full.IsGPR())
            {
                used |= 1u << full.GetNumber();
            }
        }

        int memory = -1;
        bool usesStackPointer = false;
        for (int i = 0; i < instruction.OpCount; i++)
        {
            OpKind kind = instruction.GetOpKind(i);
            if (kind == OpKind.Memory)
            {
                memory = i;
            }
            else if (kind == OpKind.Register)
            {
                usesStackPointer |= instruction.GetOpRegister(i).GetFullRegister() == Register.RSP;
            }
        }

        int pointer = memory >= 0 ? Take(ref used) : -1;
        int standIn = usesStackPointer ? Take(ref used) : -1;
        return new NativeOperands { MemoryOperand = memory, Pointer = pointer, StackReplacement = standIn };
    }

    public Instruction Rewrite(in Instruction original)
    {
        Instruction instruction = original;
        instruction.SegmentPrefix = Register.None;
        for (int i = 0; i < instruction.OpCount && StackReplacement >= 0; i++)
        {
            if (instruction.GetOpKind(i) != OpKind.Register)
            {
                continue;
            }

            Register register = instruction.GetOpRegister(i);
            if (register.GetFullRegister() == Register.RSP)
            {
                instruction.SetOpRegister(i, register switch
                {
                    Register.SPL => LowByte(StackReplacement),
                    Register.SP => Register.AX + StackReplacement,
                    Register.ESP => Register.EAX + StackReplacement,
                    _ => Register.RAX + StackReplacement,
                });
            }
        }

        if (MemoryOperand >= 0)
        {
            instruction.MemoryBase = Register.RAX + Pointer;
            instruction.MemoryIndex = Register.None;
            instruction.MemoryIndexScale = 1;
            instruction.MemoryDisplacement64 = 0;
            instruction.MemoryDisplSize = 0;
        }

        return instruction;
    }

    // The enumeration has AH to BH between BL and SPL.
    private static Register LowByte(int number) =>
        number < 4 ? Register.AL + number : Register.SPL + (number - GuestRegisters.Rsp);

    private static int Take(ref uint used)
    {
        foreach (byte candidate in Candidates)
        {
            if ((used >> candidate & 1) == 0)
            {
                used |= 1u << candidate;
                return candidate;
            }
        }

        // No instruction names more than five general registers.
        throw new InvalidOperationException($"no free register beside {BitOperations.PopCount(used)} used ones");
    }
}

using Iced.Intel;
using Vmm.Kvm.Abi;

namespace Vmm.Assist;

/// <summary>Executes what a kernel does between STAC and CLAC: it copies data to or from user space. Each of the two
/// instructions is an exit; executing everything between them here saves the second exit, and long copies, which KVM's emulator
/// does an element at a time, are done at once.</summary>
/// <remarks>KVM could execute all of this, and does in special cases: an exception, an address without memory, an instruction
/// not named here. Stores from general registers are executed here, unlike elsewhere in the assist: in a window they do not go
/// to page tables, whose changes KVM would have to see.</remarks>
internal sealed unsafe class AccessWindow(AssistContext context)
{
    /// <summary>Bytes that all string instructions of a window may move: some microseconds, for which an interrupt waits.
    /// </summary>
    private const ulong MostBytes = 64 * 1024;

    private const int PageSize = 4096;

    private ulong _bytesLeft;

    /// <summary>A window was opened.</summary>
    public void Open() => _bytesLeft = MostBytes;

    /// <summary>Executes the context's instruction if it is one of the few that windows need and <see cref="NativeRunner"/>
    /// does not have.</summary>
    /// <returns><see cref="Step.Next"/>, <see cref="Step.Jumped"/>; else nothing was done, or an interruptible part of it.
    /// </returns>
    public Step Execute()
    {
        ref readonly Instruction instruction = ref context.Instruction;
        if (!context.Is64Bit)
        {
            return Step.Unknown;
        }

        switch (instruction.FlowControl)
        {
            case FlowControl.ConditionalBranch when instruction.ConditionCode != ConditionCode.None:
                return IsMet(instruction.ConditionCode, context.Rflags) ? JumpTo(instruction.NearBranchTarget) : Step.Next;
            case FlowControl.UnconditionalBranch when instruction.Op0Kind == OpKind.NearBranch64:
                return JumpTo(instruction.NearBranchTarget);
        }

        switch (instruction.Code)
        {
            case Code.Lea_r32_m:
            case Code.Lea_r64_m:
                context.Set(instruction.Op0Register, context.EffectiveOffset());
                return Step.Next;
            case Code.Movsb_m8_m8: return Strings(1, isMove: true);
            case Code.Movsw_m16_m16: return Strings(2, isMove: true);
            case Code.Movsd_m32_m32: return Strings(4, isMove: true);
            case Code.Movsq_m64_m64: return Strings(8, isMove: true);
            case Code.Stosb_m8_AL: return Strings(1, isMove: false);
            case Code.Stosw_m16_AX: return Strings(2, isMove: false);
            case Code.Stosd_m32_EAX: return Strings(4, isMove: false);
            case Code.Stosq_m64_RAX: return Strings(8, isMove: false);
            default: return Step.Unknown;
        }
    }

    /// <summary>Jcc's conditions (Intel SDM volume 1, appendix B).</summary>
    private static bool IsMet(ConditionCode condition, ulong flags)
    {
        bool carry = (flags & Bits.FlagCf) != 0, zero = (flags & Bits.FlagZf) != 0, sign = (flags & Bits.FlagSf) != 0;
        bool overflow = (flags & Bits.FlagOf) != 0, parity = (flags & Bits.FlagPf) != 0;
        return condition switch
        {
            ConditionCode.o => overflow,
            ConditionCode.no => !overflow,
            ConditionCode.b => carry,
            ConditionCode.ae => !carry,
            ConditionCode.e => zero,
            ConditionCode.ne => !zero,
            ConditionCode.be => carry || zero,
            ConditionCode.a => !carry && !zero,
            ConditionCode.s => sign,
            ConditionCode.ns => !sign,
            ConditionCode.p => parity,
            ConditionCode.np => !parity,
            ConditionCode.l => sign != overflow,
            ConditionCode.ge => sign == overflow,
            ConditionCode.le => zero || sign != overflow,
            _ => !zero && sign == overflow,
        };
    }

    private Step JumpTo(ulong target)
    {
        if (!PageWalk.IsCanonical(in context.Cpu.Sregs, target))
        {
            return Step.Unknown;
        }

        context.Cpu.Regs.Rip = target;
        context.Cpu.MarkRegsDirty();
        return Step.Jumped;
    }

    /// <summary>MOVS and STOS, upwards, with 64-bit addresses and without a segment's base. If it stops early, the elements
    /// moved so far stay moved, as with an interrupt between two elements (Intel SDM volume 2, REP).</summary>
    private Step Strings(int size, bool isMove)
    {
        ref readonly Instruction instruction = ref context.Instruction;
        ref KvmRegs regs = ref context.Cpu.Regs;
        bool isPlain = (regs.Rflags & Bits.FlagDf) == 0 && !instruction.HasRepnePrefix
            && instruction.SegmentPrefix == Register.None
            && instruction.Op0Kind == OpKind.MemoryESRDI && (!isMove || instruction.Op1Kind == OpKind.MemorySegRSI);
        if (!isPlain)
        {
            return Step.Unknown;
        }

        bool repeats = instruction.HasRepPrefix;
        ulong left = repeats ? regs.Rcx : 1;
        while (left != 0)
        {
            ulong count = Math.Min(left, ElementsInPage(regs.Rdi, size));
            count = isMove ? Math.Min(count, ElementsInPage(regs.Rsi, size)) : count;
            bool isAcross = count == 0;
            count = isAcross ? 1 : count;
            ulong bytes = count * (uint)size;
            if (bytes > _bytesLeft || !(isAcross
                ? TryMoveOne(regs.Rdi, regs.Rsi, size, isMove, regs.Rax)
                : TryMove(regs.Rdi, regs.Rsi, size, (int)count, isMove, regs.Rax)))
            {
                return Step.Unknown;
            }

            _bytesLeft -= bytes;
            left -= count;
            regs.Rdi += bytes;
            regs.Rsi += isMove ? bytes : 0;
            regs.Rcx = repeats ? left : regs.Rcx;
            context.Cpu.MarkRegsDirty();
        }

        return Step.Next;
    }

    /// <summary>How many whole elements lie between an address and the end of its page.</summary>
    private static ulong ElementsInPage(ulong address, int size) =>
        (PageSize - (address & (PageSize - 1))) / (uint)size;

    /// <summary>Moves one element that crosses a page boundary at its source or destination.</summary>
    private bool TryMoveOne(ulong to, ulong from, int size, bool isMove, ulong value)
    {
        var element = new Span<byte>(&value, size);
        return (!isMove || context.Memory.Read(from, element) == AccessResult.Ok)
            && context.Memory.Write(to, element) == AccessResult.Ok;
    }

    /// <summary>Moves elements of which none crosses a page boundary.</summary>
    private bool TryMove(ulong to, ulong from, int size, int count, bool isMove, ulong value)
    {
        int length = size * count;
        byte* source = null;
        if ((isMove && context.Memory.Locate(from, length, Access.Read, out source) != AccessResult.Ok)
            || context.Memory.Locate(to, length, Access.Write, out byte* target) != AccessResult.Ok)
        {
            return false;
        }

        // SAFETY: Locate found both ranges in guest memory. Element by element where they overlap upwards, since then what
        // was written is read again.
        if (!isMove)
        {
            for (byte* end = target + length; target < end; target += size)
            {
                new ReadOnlySpan<byte>(&value, size).CopyTo(new Span<byte>(target, size));
            }
        }
        else if (target <= source || target >= source + length)
        {
            Buffer.MemoryCopy(source, target, length, length);
        }
        else
        {
            for (byte* end = target + length; target < end; target += size, source += size)
            {
                Buffer.MemoryCopy(source, target, size, size);
            }
        }

        return true;
    }
}

using Iced.Intel;
using Vmm.Kvm.Abi;

namespace Vmm.Assist;

/// <summary>The result of executing one instruction.</summary>
internal enum Step
{
    /// <summary>Done; RIP moves behind the instruction.</summary>
    Next,

    /// <summary>Done, and RIP is set already.</summary>
    Jumped,

    /// <summary>The guest gets <see cref="AssistContext.Fault"/>, RIP at the instruction.</summary>
    Fault,

    /// <summary>The guest gets <see cref="AssistContext.Fault"/>, RIP behind the instruction.</summary>
    Trap,

    /// <summary>The assist cannot execute it; <see cref="AssistContext.Reason"/> may say why.</summary>
    Unknown,
}

/// <summary>One instruction and the vCPU that is to execute it: what the instructions' own code works with. Reused
/// from exit to exit.</summary>
internal sealed class AssistContext(IAssistCpu cpu)
{
    private bool _isXsaveDirty;

    /// <summary>The instruction at RIP.</summary>
    public Instruction Instruction;

    public IAssistCpu Cpu { get; } = cpu;

    public LinearMemory Memory { get; } = new(cpu);

    /// <summary>Valid with <see cref="Step.Fault"/> and <see cref="Step.Trap"/>.</summary>
    public GuestFault Fault { get; private set; }

    /// <summary>Details of a <see cref="Step.Unknown"/>; null for none.</summary>
    public string? Reason { get; set; }

    public bool Is64Bit => GuestMode.Is64Bit(in Cpu.Sregs);

    public int Cpl => GuestMode.Cpl(Cpu);

    public ulong Rflags => Cpu.Regs.Rflags;

    /// <summary>EDX:EAX, as the XSAVE family and others take it.</summary>
    public ulong EdxEax => (Cpu.Regs.Rdx << 32) | (uint)Cpu.Regs.Rax;

    /// <summary>The image of <see cref="IAssistCpu.LoadXsave"/> was changed.</summary>
    public void MarkXsaveDirty() => _isXsaveDirty = true;

    /// <summary>Writes a changed image back, once for all instructions of an exit.</summary>
    public void FlushXsave()
    {
        if (_isXsaveDirty)
        {
            _isXsaveDirty = false;
            Cpu.StoreXsave();
        }
    }

    public Step Raise(GuestFault fault)
    {
        Fault = fault;
        return Step.Fault;
    }

    public Step Raise(byte vector) => Raise(GuestFault.Plain(vector));

    public Step Trap(byte vector)
    {
        Fault = GuestFault.Plain(vector);
        return Step.Trap;
    }

    /// <summary>Converts the result of a memory access to the result of the instruction.</summary>
    public Step From(AccessResult result)
    {
        switch (result)
        {
            case AccessResult.Ok:
                return Step.Next;
            case AccessResult.Fault:
                return Raise(Memory.Fault);
            default:
                Reason = "its operand is not in the guest's memory";
                return Step.Unknown;
        }
    }

    public void SetStatusFlags(ulong mask, ulong value)
    {
        ref KvmRegs regs = ref Cpu.Regs;
        regs.Rflags = (regs.Rflags & ~mask) | value;
        Cpu.MarkRegsDirty();
    }

    /// <summary>A general register's value, zero-extended.</summary>
    public ulong Get(Register register)
    {
        ulong value = Slot(register);
        if (register is >= Register.AH and <= Register.BH)
        {
            return (value >> 8) & 0xFF;
        }

        return register.GetSize() switch { 1 => (byte)value, 2 => (ushort)value, 4 => (uint)value, _ => value };
    }

    /// <summary>Stores into a general register; 32 bits clear the upper half, 8 and 16 bits keep the rest.</summary>
    public void Set(Register register, ulong value)
    {
        bool isHigh = register is >= Register.AH and <= Register.BH;
        ref ulong slot = ref Slot(register);
        slot = register.GetSize() switch
        {
            1 when isHigh => (slot & ~0xFF00UL) | ((value & 0xFF) << 8),
            1 => (slot & ~0xFFUL) | (value & 0xFF),
            2 => (slot & ~0xFFFFUL) | (value & 0xFFFF),
            4 => (uint)value,
            _ => value,
        };
        Cpu.MarkRegsDirty();
    }

    /// <summary>The linear address of the memory operand, with the checks that segmentation makes.</summary>
    /// <param name="size">Bytes that are accessed.</param>
    /// <param name="linear">The address.</param>
    public Step Address(int size, out ulong linear)
    {
        ref readonly Instruction instruction = ref Instruction;
        ulong offset = EffectiveOffset();
        return Linear(instruction.MemorySegment, offset, size, out linear);
    }

    /// <summary>Offset in the segment, without the segment's base.</summary>
    public ulong EffectiveOffset()
    {
        ref readonly Instruction instruction = ref Instruction;
        ulong offset = instruction.MemoryDisplacement64;
        Register @base = instruction.MemoryBase, index = instruction.MemoryIndex;
        int addressSize = instruction.MemoryDisplSize;
        if (@base is Register.RIP or Register.EIP)
        {
            // The decoder has added the RIP at which the instruction was decoded first.
            offset += Cpu.Regs.Rip - instruction.IP;
            addressSize = @base.GetSize();
        }
        else if (@base != Register.None)
        {
            offset += Get(@base);
            addressSize = @base.GetSize();
        }

        if (index != Register.None && !index.IsVectorRegister())
        {
            offset += Get(index) * (uint)instruction.MemoryIndexScale;
            addressSize = index.GetSize();
        }

        return addressSize switch { 2 => (ushort)offset, 4 => (uint)offset, _ => offset };
    }

    /// <summary>From an offset in a segment to a linear address (Intel SDM volume 3, 3.4 and 5.3).</summary>
    public Step Linear(Register segmentName, ulong offset, int size, out ulong linear)
    {
        ref readonly KvmSregs sregs = ref Cpu.Sregs;
        ref readonly KvmSegment segment = ref Segment(segmentName);
        linear = 0;
        GuestFault fault = segmentName == Register.SS ? GuestFault.Ss() : GuestFault.Gp();
        if (GuestMode.Is64Bit(in sregs))
        {
            linear = offset + (segmentName is Register.FS or Register.GS ? segment.Base : 0);
            ulong last = linear + (ulong)size - 1;
            return PageWalk.IsCanonical(in sregs, linear) && PageWalk.IsCanonical(in sregs, last)
                ? Step.Next
                : Raise(fault);
        }

        linear = (uint)(offset + segment.Base);
        bool expandsDown = segment.S != 0 && (segment.Type & 0b1100) == 0b0100;
        ulong top = offset + (ulong)size - 1;
        bool isInside = expandsDown
            ? offset > segment.Limit && top <= (segment.Db != 0 ? 0xFFFF_FFFF : 0xFFFFu)
            : top <= segment.Limit;
        return isInside && segment.Unusable == 0 ? Step.Next : Raise(fault);
    }

    private ref ulong Slot(Register register) =>
        ref GuestRegisters.At(ref Cpu.Regs, register.GetFullRegister().GetNumber());

    private ref readonly KvmSegment Segment(Register name)
    {
        ref KvmSregs sregs = ref Cpu.Sregs;
        switch (name)
        {
            case Register.ES: return ref sregs.Es;
            case Register.CS: return ref sregs.Cs;
            case Register.SS: return ref sregs.Ss;
            case Register.FS: return ref sregs.Fs;
            case Register.GS: return ref sregs.Gs;
            default: return ref sregs.Ds;
        }
    }
}

using System.Buffers.Binary;
using Vmm.Kvm.Abi;

namespace Vmm.Assist;

/// <summary>INT n, INT3, INTO and INT1. INT n goes through the interrupt descriptor table here (Intel SDM volume 3,
/// 6.12 and 6.14; volume 2, "INT n"), since KVM has no way to inject one into a guest that is not virtualised by
/// hardware; the others are exceptions that KVM delivers.</summary>
internal static class SoftwareInterrupt
{
    private const int GateLength = 16, InterruptGate = 0xE, TrapGate = 0xF;
    private const uint FromIdt = 2;

    /// <summary>INT n at CPL 0 in 64-bit mode.</summary>
    public static Step Deliver(AssistContext context, byte vector)
    {
        ref readonly KvmSregs sregs = ref context.Cpu.Sregs;
        if (!context.Is64Bit || context.Cpl != 0)
        {
            context.Reason = "INT n outside a 64-bit kernel";
            return Step.Unknown;
        }

        uint gateError = ((uint)vector << 3) | FromIdt;
        if ((vector * GateLength) + GateLength - 1 > sregs.Idt.Limit)
        {
            return context.Raise(GuestFault.Gp(gateError));
        }

        Span<byte> gate = stackalloc byte[GateLength];
        Step step = ReadTable(context, sregs.Idt.Base + (uint)(vector * GateLength), gate);
        if (step != Step.Next)
        {
            return step;
        }

        int type = gate[5] & 0x1F;
        if (type is not InterruptGate and not TrapGate)
        {
            return context.Raise(GuestFault.Gp(gateError));
        }

        if ((gate[5] & 0x80) == 0)
        {
            return context.Raise(new GuestFault(GuestFault.Np, true, gateError));
        }

        ulong target = BinaryPrimitives.ReadUInt16LittleEndian(gate)
            | ((ulong)BinaryPrimitives.ReadUInt16LittleEndian(gate[6..]) << 16)
            | ((ulong)BinaryPrimitives.ReadUInt32LittleEndian(gate[8..]) << 32);
        ushort selector = BinaryPrimitives.ReadUInt16LittleEndian(gate[2..]);
        step = LoadCode(context, selector, out KvmSegment code);
        if (step != Step.Next)
        {
            return step;
        }

        if (!PageWalk.IsCanonical(in sregs, target))
        {
            return context.Raise(GuestFault.Gp());
        }

        step = Stack(context, gate[4] & 7, out ulong stack);
        return step == Step.Next ? Enter(context, code, target, stack, isInterrupt: type == InterruptGate) : step;
    }

    /// <summary>INTO, which 64-bit mode does not have.</summary>
    public static Step Overflow(AssistContext context) =>
        (context.Rflags & Bits.FlagOf) != 0 ? context.Trap(GuestFault.Of) : Step.Next;

    private static Step Enter(AssistContext context, in KvmSegment code, ulong target, ulong stack, bool isInterrupt)
    {
        ref KvmRegs regs = ref context.Cpu.Regs;
        ref KvmSregs sregs = ref context.Cpu.Sregs;
        Span<byte> frame = stackalloc byte[40];
        BinaryPrimitives.WriteUInt64LittleEndian(frame, regs.Rip + (uint)context.Instruction.Length);
        BinaryPrimitives.WriteUInt64LittleEndian(frame[8..], sregs.Cs.Selector);
        BinaryPrimitives.WriteUInt64LittleEndian(frame[16..], regs.Rflags);
        BinaryPrimitives.WriteUInt64LittleEndian(frame[24..], regs.Rsp);
        BinaryPrimitives.WriteUInt64LittleEndian(frame[32..], sregs.Ss.Selector);
        stack = (stack & ~15UL) - (uint)frame.Length;
        if (!PageWalk.IsCanonical(in sregs, stack) || !PageWalk.IsCanonical(in sregs, stack + (uint)frame.Length - 1))
        {
            return context.Raise(GuestFault.Ss());
        }

        Step step = context.From(context.Memory.Write(stack, frame));
        if (step != Step.Next)
        {
            return step;
        }

        ulong cleared = Bits.FlagTf | Bits.FlagNt | Bits.FlagRf | Bits.FlagVm | (isInterrupt ? Bits.FlagIf : 0);
        regs.Rflags &= ~cleared;
        regs.Rsp = stack;
        regs.Rip = target;
        sregs.Cs = code;
        context.Cpu.MarkRegsDirty();
        context.Cpu.MarkSregsDirty();
        return Step.Jumped;
    }

    /// <summary>The code segment of the gate: 64-bit code at the current privilege, from the GDT or LDT.</summary>
    private static Step LoadCode(AssistContext context, ushort selector, out KvmSegment code)
    {
        ref readonly KvmSregs sregs = ref context.Cpu.Sregs;
        code = default;
        uint error = selector & ~3u;
        Span<byte> bytes = stackalloc byte[8];
        Step step = Descriptor.Read(context, selector, bytes, out bool exists);
        if (step != Step.Next)
        {
            return step;
        }

        KvmSegment segment = Descriptor.Parse(bytes, selector);
        bool isCode = exists && (selector & ~3) != 0 && segment.S != 0 && (segment.Type & 8) != 0;
        if (!isCode || segment.Dpl != 0 || segment.L == 0 || segment.Db != 0)
        {
            return context.Raise(GuestFault.Gp(error));
        }

        if (segment.Present == 0)
        {
            return context.Raise(new GuestFault(GuestFault.Np, true, error));
        }

        code = segment;
        code.Selector = (ushort)(selector & ~3);
        code.Type |= 1;
        return Step.Next;
    }

    /// <summary>The present stack, or the one that the gate names in the task-state segment.</summary>
    private static Step Stack(AssistContext context, int ist, out ulong stack)
    {
        ref readonly KvmSregs sregs = ref context.Cpu.Sregs;
        stack = context.Cpu.Regs.Rsp;
        if (ist == 0)
        {
            return Step.Next;
        }

        uint offset = 0x24 + ((uint)(ist - 1) * 8);                   // SDM volume 3, figure 8-11
        if (offset + 7 > sregs.Tr.Limit)
        {
            return context.Raise(new GuestFault(10, true, sregs.Tr.Selector & ~3u));
        }

        Span<byte> bytes = stackalloc byte[8];
        Step step = ReadTable(context, sregs.Tr.Base + offset, bytes);
        stack = BinaryPrimitives.ReadUInt64LittleEndian(bytes);
        return step;
    }

    private static Step ReadTable(AssistContext context, ulong linear, Span<byte> bytes) =>
        context.From(context.Memory.Read(linear, bytes, Access.Implicit));
}

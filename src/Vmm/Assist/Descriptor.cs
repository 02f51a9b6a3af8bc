using System.Buffers.Binary;
using Iced.Intel;
using Vmm.Kvm.Abi;

namespace Vmm.Assist;

/// <summary>Segment descriptors in the GDT and LDT (Intel SDM volume 3, 3.4.5), and the instructions that only read them: VERR,
/// VERW, LAR and LSL.</summary>
internal static class Descriptor
{
    private const int CodeBit = 8, ConformingBit = 4, ReadableBit = 2, WritableBit = 2;

    /// <summary>Fetches a descriptor.</summary>
    /// <param name="context">The vCPU, whose tables are read.</param>
    /// <param name="selector">Selects the descriptor.</param>
    /// <param name="bytes">Room for eight bytes.</param>
    /// <param name="exists">false for the null selector and outside the table's limit.</param>
    public static Step Read(AssistContext context, ushort selector, Span<byte> bytes, out bool exists)
    {
        ref readonly KvmSregs sregs = ref context.Cpu.Sregs;
        bool isLocal = (selector & 4) != 0;
        ulong table = isLocal ? sregs.Ldt.Base : sregs.Gdt.Base;
        uint limit = isLocal ? sregs.Ldt.Unusable != 0 ? 0 : sregs.Ldt.Limit : sregs.Gdt.Limit;
        uint offset = selector & ~7u;
        exists = offset + 7 <= limit && (isLocal || offset != 0);
        bytes.Clear();
        return exists
            ? context.From(context.Memory.Read(table + offset, bytes, Access.Implicit))
            : Step.Next;
    }

    public static KvmSegment Parse(ReadOnlySpan<byte> bytes, ushort selector)
    {
        ulong raw = BinaryPrimitives.ReadUInt64LittleEndian(bytes);
        uint limit = (uint)(raw & 0xFFFF) | (uint)(raw >> 32 & 0xF_0000);
        bool isGranular = (raw >> 55 & 1) != 0;
        return new KvmSegment
        {
            Base = (raw >> 16 & 0xFF_FFFF) | (raw >> 32 & 0xFF00_0000),
            Limit = isGranular ? (limit << 12) | 0xFFF : limit,
            Selector = selector,
            Type = (byte)(raw >> 40 & 15),
            S = (byte)(raw >> 44 & 1),
            Dpl = (byte)(raw >> 45 & 3),
            Present = (byte)(raw >> 47 & 1),
            Avl = (byte)(raw >> 52 & 1),
            L = (byte)(raw >> 53 & 1),
            Db = (byte)(raw >> 54 & 1),
            G = (byte)(raw >> 55 & 1),
        };
    }

    /// <summary>VERR and VERW: ZF says whether the segment could be read or written.</summary>
    public static Step Verify(AssistContext context, bool isWrite)
    {
        Step step = Look(context, operand: 0, out KvmSegment segment, out bool exists, out _);
        if (step != Step.Next)
        {
            return step;
        }

        bool isCode = (segment.Type & CodeBit) != 0;
        bool isAllowed = isWrite
            ? !isCode && (segment.Type & WritableBit) != 0
            : !isCode || (segment.Type & ReadableBit) != 0;
        bool isConforming = isCode && (segment.Type & ConformingBit) != 0;
        bool isGood = exists && segment.S != 0 && isAllowed && (isConforming || IsReachable(context, segment));
        context.SetStatusFlags(Bits.FlagZf, isGood ? Bits.FlagZf : 0);
        return Step.Next;
    }

    /// <summary>LAR and LSL: access rights or limit of a segment, and ZF; without ZF the register stays.</summary>
    public static Step Load(AssistContext context, bool isLimit)
    {
        Step step = Look(context, operand: 1, out KvmSegment segment, out bool exists, out ulong raw);
        if (step != Step.Next)
        {
            return step;
        }

        bool isLong = (context.Cpu.Sregs.Efer & Bits.EferLma) != 0;
        bool isConforming = segment.S != 0 && (segment.Type & (CodeBit | ConformingBit)) == (CodeBit | ConformingBit);
        bool hasKind = segment.S != 0 || IsSystemType(segment.Type, isLong, isLimit);
        bool isGood = exists && hasKind && (isConforming || IsReachable(context, segment));
        if (isGood)
        {
            context.Set(context.Instruction.Op0Register, isLimit ? segment.Limit : raw >> 32 & 0x00FF_FF00);
        }

        context.SetStatusFlags(Bits.FlagZf, isGood ? Bits.FlagZf : 0);
        return Step.Next;
    }

    /// <summary>SDM volume 2, tables 3-53 (LAR) and 3-56 (LSL): gates have rights, but no limit.</summary>
    private static bool IsSystemType(byte type, bool isLong, bool isLimit) => type switch
    {
        2 or 9 or 11 => true,
        1 or 3 => !isLong,
        12 => !isLimit,
        4 or 5 => !isLong && !isLimit,
        _ => false,
    };

    private static bool IsReachable(AssistContext context, in KvmSegment segment) =>
        context.Cpl <= segment.Dpl && (segment.Selector & 3) <= segment.Dpl;

    private static Step Look(
        AssistContext context, int operand, out KvmSegment segment, out bool exists, out ulong raw)
    {
        segment = default;
        exists = false;
        raw = 0;
        if ((context.Cpu.Sregs.Cr0 & Bits.Cr0Pe) == 0)
        {
            return context.Raise(GuestFault.Ud);
        }

        Span<byte> word = stackalloc byte[2];
        if (context.Instruction.GetOpKind(operand) == OpKind.Register)
        {
            BinaryPrimitives.WriteUInt16LittleEndian(
                word, (ushort)context.Get(context.Instruction.GetOpRegister(operand)));
        }
        else
        {
            Step step = context.Address(2, out ulong linear);
            step = step == Step.Next ? context.From(context.Memory.Read(linear, word)) : step;
            if (step != Step.Next)
            {
                return step;
            }
        }

        Span<byte> bytes = stackalloc byte[8];
        ushort selector = BinaryPrimitives.ReadUInt16LittleEndian(word);
        Step read = Read(context, selector, bytes, out exists);
        segment = Parse(bytes, selector);
        raw = BinaryPrimitives.ReadUInt64LittleEndian(bytes);
        return read;
    }
}

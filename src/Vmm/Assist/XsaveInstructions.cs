using System.Buffers.Binary;
using System.Numerics;
using Layout = Vmm.Assist.XsaveLayout;

namespace Vmm.Assist;

/// <summary>The kinds of save instructions.</summary>
internal enum SaveKind
{
    Xsave,
    Xsaveopt,
    Xsavec,
    Xsaves,
}

/// <summary>XSAVE, XSAVEOPT, XSAVEC, XSAVES, XRSTOR and XRSTORS (Intel SDM volume 1, 13.7 to 13.12).</summary>
/// <remarks>
/// KVM's image is in the standard format. Which components are in their initial configuration (XINUSE) is what its
/// XSTATE_BV says; the processor too may count a component as in use that happens to hold initial values. The modified
/// optimization of XSAVEOPT and XSAVES is optional and not implemented.
/// </remarks>
internal sealed partial class XsaveInstructions(AssistContext context, Layout layout)
{
    private const int LegacyLength = Layout.HeaderOffset;
    private const int HeaderLength = 64;

    private readonly byte[] _legacy = new byte[LegacyLength];

    /// <summary>XSAVE and its relatives; RFBM's upper half is EDX, its lower EAX.</summary>
    /// <param name="kind">Which of the instructions.</param>
    /// <param name="isWide">With REX.W: instruction and data pointer have 64 bits.</param>
    public Step Save(SaveKind kind, bool isWide)
    {
        Step step = Begin(isSupervisor: kind == SaveKind.Xsaves, out ulong area, out ulong enabled);
        if (step != Step.Next)
        {
            return step;
        }

        ReadOnlySpan<byte> image = context.Cpu.LoadXsave();
        Span<byte> header = stackalloc byte[16];
        ulong requested = enabled & context.EdxEax;
        ulong inUse = Le64(image[Layout.HeaderOffset..]) | SupervisorInUse(requested);
        ulong stateBv = requested & inUse;
        uint mxcsr = Le32(image[Layout.MxcsrOffset..]);
        bool isCompacted = kind is SaveKind.Xsavec or SaveKind.Xsaves;
        if (isCompacted && (requested >> Layout.Sse & 1) != 0 && mxcsr != Layout.MxcsrInitial)
        {
            stateBv |= 1 << Layout.Sse;                               // 13.10: MXCSR counts for XSTATE_BV[1]
        }

        ulong written = kind == SaveKind.Xsave ? requested : stateBv;
        bool writesMxcsr = isCompacted
            ? (stateBv >> Layout.Sse & 1) != 0
            : (requested & (1 << Layout.Sse | 1 << Layout.Avx)) != 0;
        BuildLegacy(image, isWide);

        if (isCompacted)
        {
            BinaryPrimitives.WriteUInt64LittleEndian(header, stateBv);
            BinaryPrimitives.WriteUInt64LittleEndian(header[8..], requested | Layout.Compacted);
        }
        else
        {
            step = context.From(context.Memory.Read(area + Layout.HeaderOffset, header[..8], Access.Write));
            if (step != Step.Next)
            {
                return step;
            }

            ulong old = Le64(header);
            BinaryPrimitives.WriteUInt64LittleEndian(header, (old & ~requested) | stateBv);
            header = header[..8];
        }

        // Two passes over the same parts: the first only finds out whether one faults.
        for (int round = 0; round < 2 && step == Step.Next; round++)
        {
            var writer = new Writer(context, area, isProbe: round == 0);
            step = WriteAll(ref writer, image, written, requested, writesMxcsr, isCompacted, header);
        }

        return step;
    }

    /// <summary>The checks common to all of them, and the area's address.</summary>
    private Step Begin(bool isSupervisor, out ulong area, out ulong enabled)
    {
        IAssistCpu cpu = context.Cpu;
        area = enabled = 0;
        if ((cpu.Sregs.Cr4 & Bits.Cr4OsXsave) == 0)
        {
            return context.Raise(GuestFault.Ud);
        }

        if ((cpu.Sregs.Cr0 & Bits.Cr0Ts) != 0)
        {
            return context.Raise(GuestFault.Nm);
        }

        if (isSupervisor && context.Cpl != 0)
        {
            return context.Raise(GuestFault.Gp());
        }

        Step step = context.Address(1, out area);
        if (step == Step.Next && (area & 63) != 0)
        {
            return context.Raise(GuestFault.Gp());
        }

        enabled = cpu.Xcr0;
        if (isSupervisor && cpu.TryGetMsr(Msr.Xss, out ulong xss))
        {
            enabled |= xss;
        }

        return step;
    }

    private Step WriteAll(
        ref Writer writer, ReadOnlySpan<byte> image, ulong written, ulong requested, bool writesMxcsr,
        bool isCompacted, scoped ReadOnlySpan<byte> header)
    {
        if ((written >> Layout.X87 & 1) != 0)
        {
            writer.Write(0, _legacy.AsSpan(0, Layout.MxcsrOffset));
            writer.Write(Layout.X87RegistersOffset, _legacy.AsSpan(Layout.X87RegistersOffset, 128));
        }

        if (writesMxcsr)
        {
            writer.Write(Layout.MxcsrOffset, _legacy.AsSpan(Layout.MxcsrOffset, 8));
        }

        if ((written >> Layout.Sse & 1) != 0)
        {
            writer.Write(Layout.XmmOffset, _legacy.AsSpan(Layout.XmmOffset, Width(Layout.Sse)));
        }

        Span<byte> supervisor = stackalloc byte[24];
        for (ulong left = written & ~3UL; left != 0; left &= left - 1)
        {
            int i = BitOperations.TrailingZeroCount(left);
            int offset = isCompacted ? layout.CompactedOffset(requested, i) : layout[i].Offset;
            if (!layout[i].IsSupervisor)
            {
                writer.Write(offset, image.Slice(layout[i].Offset, Width(i)));
            }
            else if (CetState.TryRead(context.Cpu, i, supervisor, out int length))
            {
                writer.Write(offset, supervisor[..length]);
            }
        }

        writer.Write(Layout.HeaderOffset, header);
        return writer.Result;
    }

    /// <summary>The legacy region as the instruction writes it. Without REX.W the pointers have 32 bits beside a
    /// selector, which KVM's image does not hold; processors that deprecate FCS and FDS store 0 as well.</summary>
    private void BuildLegacy(ReadOnlySpan<byte> image, bool isWide)
    {
        image[..LegacyLength].CopyTo(_legacy);
        if (!isWide)
        {
            _legacy.AsSpan(12, 4).Clear();
            _legacy.AsSpan(20, 4).Clear();
        }
    }

    /// <summary>Bytes of a component that the instruction moves: outside 64-bit mode there are eight vector
    /// registers (13.5.2, 13.5.3 and 13.5.6).</summary>
    private int Width(int component)
    {
        if (context.Is64Bit)
        {
            return component == Layout.Sse ? 256 : layout[component].Size;
        }

        return component switch
        {
            Layout.Sse => 128,
            Layout.Avx => 128,
            Layout.ZmmHi256 => 256,
            Layout.Hi16Zmm => 0,
            _ => layout[component].Size,
        };
    }

    private ulong SupervisorInUse(ulong requested)
    {
        ulong inUse = 0;
        Span<byte> state = stackalloc byte[24];
        for (ulong left = requested & ~layout.UserMask; left != 0; left &= left - 1)
        {
            int i = BitOperations.TrailingZeroCount(left);
            if (CetState.TryRead(context.Cpu, i, state, out int length)
                && state[..length].ContainsAnyExcept((byte)0))
            {
                inUse |= 1UL << i;
            }
        }

        return inUse;
    }

    private static ulong Le64(ReadOnlySpan<byte> bytes) => BinaryPrimitives.ReadUInt64LittleEndian(bytes);

    private static uint Le32(ReadOnlySpan<byte> bytes) => BinaryPrimitives.ReadUInt32LittleEndian(bytes);

    /// <summary>Writes parts until one fails.</summary>
    private ref struct Writer(AssistContext context, ulong area, bool isProbe)
    {
        public Step Result { get; private set; } = Step.Next;

        public void Write(int offset, scoped ReadOnlySpan<byte> bytes)
        {
            if (Result == Step.Next && bytes.Length != 0)
            {
                ulong address = area + (uint)offset;
                Result = context.From(isProbe
                    ? context.Memory.Probe(address, bytes.Length, Access.Write)
                    : context.Memory.Write(address, bytes));
            }
        }
    }
}

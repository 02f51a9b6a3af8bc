using System.Buffers.Binary;
using System.Numerics;
using Layout = Vmm.Assist.XsaveLayout;

namespace Vmm.Assist;

/// <summary>The instructions that load state: XRSTOR and XRSTORS (Intel SDM volume 1, 13.8 and 13.12).</summary>
internal sealed partial class XsaveInstructions
{
    private byte[] _image = [];

    /// <summary>XRSTOR and XRSTORS.</summary>
    public Step Restore(bool isSupervisor, bool isWide)
    {
        Step step = Begin(isSupervisor, out ulong area, out ulong enabled);
        if (step != Step.Next)
        {
            return step;
        }

        Span<byte> header = stackalloc byte[HeaderLength];
        step = context.From(context.Memory.Read(area + Layout.HeaderOffset, header));
        if (step != Step.Next)
        {
            return step;
        }

        ulong stateBv = Le64(header), compBv = Le64(header[8..]);
        bool isCompacted = (compBv & Layout.Compacted) != 0;
        bool isValid = isCompacted
            ? (compBv & ~Layout.Compacted & ~enabled) == 0 && (stateBv & ~compBv) == 0
                && (stateBv & Layout.Compacted) == 0 && !header[16..].ContainsAnyExcept((byte)0)
            : !isSupervisor && (stateBv & ~enabled) == 0 && !header[8..24].ContainsAnyExcept((byte)0);
        if (!isValid)
        {
            return context.Raise(GuestFault.Gp());
        }

        // Loaded into a copy, so that a fault half-way leaves the guest's state as it was.
        Span<byte> live = context.Cpu.LoadXsave();
        if (_image.Length != live.Length)
        {
            _image = new byte[live.Length];
        }

        live.CopyTo(_image);
        ulong requested = enabled & context.EdxEax;
        step = ReadLegacy(area, requested, stateBv, isCompacted, isWide);
        if (step == Step.Next)
        {
            step = ReadExtended(area, requested, stateBv, isCompacted ? compBv : 0);
        }

        if (step == Step.Next)
        {
            Span<byte> bits = _image.AsSpan(Layout.HeaderOffset, 8);
            ulong kept = Le64(bits) & ~requested;
            kept |= stateBv & requested & layout.UserMask;
            if (SseControl.Read(_image) != Layout.MxcsrInitial)
            {
                kept |= 1 << Layout.Sse;                              // else KVM would not load MXCSR
            }

            BinaryPrimitives.WriteUInt64LittleEndian(bits, kept);
            _image.CopyTo(live);
            context.MarkXsaveDirty();
        }

        return step;
    }

    private Step ReadLegacy(ulong area, ulong requested, ulong stateBv, bool isCompacted, bool isWide)
    {
        Span<byte> image = _image;
        Step step = Step.Next;
        if ((requested >> Layout.X87 & 1) != 0)
        {
            if ((stateBv >> Layout.X87 & 1) != 0)
            {
                step = Read(area, 0, image[..Layout.MxcsrOffset]);
                step = step == Step.Next
                    ? Read(area, Layout.X87RegistersOffset, image.Slice(Layout.X87RegistersOffset, 128))
                    : step;
                if (!isWide)
                {
                    image.Slice(12, 4).Clear();
                    image.Slice(20, 4).Clear();
                }
            }
            else
            {
                image[..Layout.MxcsrOffset].Clear();
                image.Slice(Layout.X87RegistersOffset, 128).Clear();
                BinaryPrimitives.WriteUInt16LittleEndian(image, Layout.FcwInitial);
            }
        }

        bool loadsSse = ((requested & stateBv) >> Layout.Sse & 1) != 0;
        if (step == Step.Next && (requested >> Layout.Sse & 1) != 0)
        {
            Span<byte> xmm = image.Slice(Layout.XmmOffset, Width(Layout.Sse));
            if (loadsSse)
            {
                step = Read(area, Layout.XmmOffset, xmm);
            }
            else
            {
                xmm.Clear();
            }
        }

        // MXCSR: with the standard format it goes with SSE or AVX, whatever XSTATE_BV says; compacted, with SSE.
        bool touchesMxcsr = isCompacted
            ? (requested >> Layout.Sse & 1) != 0
            : (requested & (1 << Layout.Sse | 1 << Layout.Avx)) != 0;
        if (step == Step.Next && touchesMxcsr)
        {
            uint mxcsr = Layout.MxcsrInitial;
            if (!isCompacted || loadsSse)
            {
                Span<byte> word = stackalloc byte[4];
                step = Read(area, Layout.MxcsrOffset, word);
                mxcsr = Le32(word);
            }

            if (step == Step.Next && (mxcsr & ~SseControl.Mask(image)) != 0)
            {
                return context.Raise(GuestFault.Gp());
            }

            BinaryPrimitives.WriteUInt32LittleEndian(image[Layout.MxcsrOffset..], mxcsr);
        }

        return step;
    }

    private Step ReadExtended(ulong area, ulong requested, ulong stateBv, ulong compBv)
    {
        Span<byte> supervisor = stackalloc byte[24];
        Step step = Step.Next;

        // Supervisor components are MSRs, and are loaded last, when nothing can fault any more.
        for (int round = 0; round < 2; round++)
        {
            for (ulong left = requested & ~3UL; left != 0 && step == Step.Next; left &= left - 1)
            {
                int i = BitOperations.TrailingZeroCount(left);
                bool isLoaded = (stateBv >> i & 1) != 0;
                int offset = compBv != 0 ? layout.CompactedOffset(compBv, i) : layout[i].Offset;
                if (layout[i].IsSupervisor != (round == 1))
                {
                    continue;
                }

                Span<byte> target = supervisor;
                if (round == 1)
                {
                    target = supervisor[..CetState.Length(i)];
                    target.Clear();
                }
                else
                {
                    target = _image.AsSpan(layout[i].Offset, Width(i));
                }

                if (isLoaded)
                {
                    step = Read(area, offset, target);
                }
                else
                {
                    target.Clear();
                }

                if (round == 1 && step == Step.Next && !CetState.TryWrite(context.Cpu, i, target))
                {
                    step = context.Raise(GuestFault.Gp());
                }
            }
        }

        return step;
    }

    private Step Read(ulong area, int offset, Span<byte> target) =>
        context.From(context.Memory.Read(area + (uint)offset, target));
}

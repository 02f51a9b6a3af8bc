using System.Buffers.Binary;
using Layout = Vmm.Assist.XsaveLayout;

namespace Vmm.Assist;

/// <summary>FXSAVE and FXRSTOR (Intel SDM volume 1, 10.5).</summary>
internal sealed class FxsaveInstructions(AssistContext context)
{
    // Bytes 416 to 511 are reserved or the operating system's; they are not written.
    private const int Length = 512, WrittenLength = 416, X87Length = 160;

    private readonly byte[] _area = new byte[Length];

    public Step Save(bool isWide)
    {
        Step step = Begin(out ulong linear);
        if (step != Step.Next)
        {
            return step;
        }

        ReadOnlySpan<byte> image = context.Cpu.LoadXsave();
        image[..Length].CopyTo(_area);
        if (!isWide)
        {
            _area.AsSpan(12, 4).Clear();
            _area.AsSpan(20, 4).Clear();
        }

        return context.From(context.Memory.Write(linear, _area.AsSpan(0, MovedLength())));
    }

    public Step Restore(bool isWide)
    {
        Step step = Begin(out ulong linear);
        step = step == Step.Next ? context.From(context.Memory.Read(linear, _area)) : step;
        if (step != Step.Next)
        {
            return step;
        }

        Span<byte> image = context.Cpu.LoadXsave();
        uint mask = SseControl.Mask(image);
        if ((SseControl.Read(_area) & ~mask) != 0)
        {
            return context.Raise(GuestFault.Gp());
        }

        if (!isWide)
        {
            _area.AsSpan(12, 4).Clear();
            _area.AsSpan(20, 4).Clear();
        }

        int moved = MovedLength();
        _area.AsSpan(0, Layout.MxcsrMaskOffset).CopyTo(image);
        _area.AsSpan(Layout.X87RegistersOffset, moved - Layout.X87RegistersOffset)
            .CopyTo(image[Layout.X87RegistersOffset..]);
        image[Layout.HeaderOffset] |= 1 << Layout.X87 | 1 << Layout.Sse;
        context.MarkXsaveDirty();
        return Step.Next;
    }

    /// <summary>All XMM registers of the mode, or none with EFER.FFXSR at CPL 0 (AMD APM volume 2, 3.1.7).</summary>
    private int MovedLength()
    {
        if (!context.Is64Bit)
        {
            return X87Length + 128;
        }

        bool isFast = (context.Cpu.Sregs.Efer & Bits.EferFfxsr) != 0 && context.Cpl == 0;
        return isFast ? X87Length : WrittenLength;
    }

    private Step Begin(out ulong linear)
    {
        linear = 0;
        byte vector = VectorState.X87Fault(context.Cpu);
        if (vector != VectorState.Usable)
        {
            return context.Raise(vector);
        }

        Step step = context.Address(Length, out linear);
        return step == Step.Next && (linear & 15) != 0 ? context.Raise(GuestFault.Gp()) : step;
    }
}

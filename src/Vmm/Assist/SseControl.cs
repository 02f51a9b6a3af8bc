using System.Buffers.Binary;

namespace Vmm.Assist;

/// <summary>MXCSR in an XSAVE image, and the instructions that load and store it (Intel SDM volume 1, 10.2.3).
/// </summary>
internal static class SseControl
{
    /// <summary>Bits that MXCSR may have; a mask of 0 means this default (SDM volume 1, 11.6.6).</summary>
    private const uint DefaultMask = 0xFFBF;

    public static uint Mask(ReadOnlySpan<byte> image)
    {
        uint mask = BinaryPrimitives.ReadUInt32LittleEndian(image[XsaveLayout.MxcsrMaskOffset..]);
        return mask == 0 ? DefaultMask : mask;
    }

    public static uint Read(ReadOnlySpan<byte> image) =>
        BinaryPrimitives.ReadUInt32LittleEndian(image[XsaveLayout.MxcsrOffset..]);

    /// <summary>LDMXCSR and VLDMXCSR.</summary>
    public static Step Load(AssistContext context, bool isVex)
    {
        Step step = Begin(context, isVex, out ulong address);
        if (step != Step.Next)
        {
            return step;
        }

        Span<byte> word = stackalloc byte[4];
        step = context.From(context.Memory.Read(address, word));
        if (step != Step.Next)
        {
            return step;
        }

        Span<byte> image = context.Cpu.LoadXsave();
        if ((BinaryPrimitives.ReadUInt32LittleEndian(word) & ~Mask(image)) != 0)
        {
            return context.Raise(GuestFault.Gp());
        }

        word.CopyTo(image[XsaveLayout.MxcsrOffset..]);

        // KVM, like XRSTOR, loads MXCSR from the image only together with a component of vector state.
        image[XsaveLayout.HeaderOffset] |= 1 << XsaveLayout.Sse;
        context.MarkXsaveDirty();
        return Step.Next;
    }

    /// <summary>STMXCSR and VSTMXCSR.</summary>
    public static Step Store(AssistContext context, bool isVex)
    {
        Step step = Begin(context, isVex, out ulong address);
        if (step == Step.Next)
        {
            ReadOnlySpan<byte> image = context.Cpu.LoadXsave();
            step = context.From(context.Memory.Write(address, image.Slice(XsaveLayout.MxcsrOffset, 4)));
        }

        return step;
    }

    private static Step Begin(AssistContext context, bool isVex, out ulong address)
    {
        address = 0;
        byte vector = isVex ? VectorState.VexFault(context.Cpu) : VectorState.SseFault(context.Cpu);
        return vector != VectorState.Usable ? context.Raise(vector) : context.Address(4, out address);
    }
}

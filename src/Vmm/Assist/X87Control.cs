using System.Buffers.Binary;

namespace Vmm.Assist;

/// <summary>x87 exceptions that are pending until the next waiting instruction (Intel SDM volume 1, 8.6).</summary>
internal static class X87Control
{
    private const int ExceptionMask = 0x3F;

    /// <summary>Is an unmasked exception pending in this image? The processor keeps FSW.ES consistent with that.</summary>
    public static bool IsPending(ReadOnlySpan<byte> image)
    {
        if ((image[XsaveLayout.HeaderOffset] & (1 << XsaveLayout.X87)) == 0)
        {
            return false;
        }

        int control = BinaryPrimitives.ReadUInt16LittleEndian(image);
        int status = BinaryPrimitives.ReadUInt16LittleEndian(image[2..]);
        return (status & ~control & ExceptionMask) != 0;
    }

    /// <summary>FWAIT.</summary>
    public static Step Wait(AssistContext context)
    {
        if ((context.Cpu.Sregs.Cr0 & (Bits.Cr0Mp | Bits.Cr0Ts)) == (Bits.Cr0Mp | Bits.Cr0Ts))
        {
            return context.Raise(GuestFault.Nm);
        }

        return IsPending(context.Cpu.LoadXsave()) ? context.Raise(GuestFault.Mf) : Step.Next;
    }
}

using System.Buffers.Binary;

namespace Vmm.Kvm.State;

/// <summary>The timer of a saved local APIC (Intel SDM volume 3, "APIC Timer"; offsets of struct kvm_lapic_state).</summary>
internal static class LapicTimer
{
    private const int Isr = 0x100, Irr = 0x200, LvtTimer = 0x320;
    private const uint Masked = 1 << 16, ModeMask = 3 << 17, TscDeadlineMode = 2 << 17;

    /// <summary>With a deadline of 0, which says that the timer is off: can it also be that it fired, and that its interrupt was on
    /// its way inside KVM, which is part of no state? A guest that waits for it would wait for ever. One that comes for nothing does
    /// no harm: a deadline that passes while it is taken back does the same.</summary>
    public static bool MayHaveFired(ReadOnlySpan<byte> lapic)
    {
        uint timer = BinaryPrimitives.ReadUInt32LittleEndian(lapic[LvtTimer..]);
        int vector = (int)(timer & 0xff);
        return (timer & (Masked | ModeMask)) == TscDeadlineMode && vector >= 16 && !IsSet(lapic, Irr, vector) && !IsSet(lapic, Isr, vector);
    }

    private static bool IsSet(ReadOnlySpan<byte> lapic, int register, int vector) =>
        (BinaryPrimitives.ReadUInt32LittleEndian(lapic[(register + (vector / 32 * 16))..]) >> (vector % 32) & 1) != 0;
}

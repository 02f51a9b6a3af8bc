using System.Buffers.Binary;

namespace Vmm.Kvm.State;

/// <summary>The timer of a saved local APIC (Intel SDM volume 3, "APIC Timer"; offsets of struct kvm_lapic_state).</summary>
internal static class LapicTimer
{
    private const int Isr = 0x100, Irr = 0x200, LvtTimer = 0x320;
    private const uint Masked = 1 << 16, ModeMask = 3 << 17, TscDeadlineMode = 2 << 17;

    /// <summary>A saved IA32_TSC_DEADLINE of 0 means that the timer is off, or that it has fired and its interrupt is pending inside KVM,
    /// in no saved state. May the second be the case? Then the timer must fire after loading, or the guest could wait for ever. A
    /// spurious interrupt is harmless: real hardware has them when a deadline passes while it is disarmed.</summary>
    public static bool MayHaveFired(ReadOnlySpan<byte> lapic)
    {
        uint timer = BinaryPrimitives.ReadUInt32LittleEndian(lapic[LvtTimer..]);
        int vector = (int)(timer & 0xff);
        return (timer & (Masked | ModeMask)) == TscDeadlineMode && vector >= 16 && !IsSet(lapic, Irr, vector) && !IsSet(lapic, Isr, vector);
    }

    private static bool IsSet(ReadOnlySpan<byte> lapic, int register, int vector) =>
        (BinaryPrimitives.ReadUInt32LittleEndian(lapic[(register + (vector / 32 * 16))..]) >> (vector % 32) & 1) != 0;
}

using System.Buffers.Binary;

namespace Vmm.Boot;

/// <summary>The local APIC as firmware leaves it, as functions over the 1 KiB register page that KVM_GET_LAPIC and
/// KVM_SET_LAPIC exchange (struct kvm_lapic_state: each register in 4 bytes on a 16-byte boundary).</summary>
public static class CpuLapic
{
    /// <summary>Bytes of struct kvm_lapic_state.</summary>
    public const int StateSize = 1024;

    /// <summary>APIC ids from here on need x2APIC mode: 255 is the broadcast id in xAPIC mode.</summary>
    public const int FirstLongId = 255;

    private const int LvtLint0 = 0x350, LvtLint1 = 0x360;      // SDM volume 3, table 11-1
    private const uint DeliveryMask = 0x700, Masked = 1 << 16, ExtInt = 7 << 8, Nmi = 4 << 8;

    /// <summary>Virtual wire mode (MP specification 3.6.2.2): the PICs' output arrives at LINT0 of the boot
    /// processor alone; NMI arrives at LINT1 of every processor.</summary>
    /// <param name="registers">As KVM_GET_LAPIC gave it, <see cref="StateSize"/> bytes.</param>
    /// <param name="bootProcessor">Is this the vCPU that starts?</param>
    public static void SetVirtualWire(Span<byte> registers, bool bootProcessor)
    {
        ArgumentOutOfRangeException.ThrowIfNotEqual(registers.Length, StateSize);
        Set(registers, LvtLint0, ExtInt, masked: !bootProcessor);
        Set(registers, LvtLint1, Nmi, masked: false);
    }

    private static void Set(Span<byte> registers, int at, uint mode, bool masked)
    {
        uint value = BinaryPrimitives.ReadUInt32LittleEndian(registers[at..]);
        value = (value & ~(DeliveryMask | Masked)) | mode | (masked ? Masked : 0);
        BinaryPrimitives.WriteUInt32LittleEndian(registers[at..], value);
    }
}

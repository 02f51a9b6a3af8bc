using System.Runtime.InteropServices;

namespace Vmm.Kvm.Abi;

// The small argument structs of <linux/kvm.h>, by their C names; sizes and offsets are proved by AbiTests.

/// <summary>struct kvm_userspace_memory_region (KVM API 4.35).</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct KvmUserspaceMemoryRegion
{
    public const uint KVM_MEM_READONLY = 2;

    public uint Slot;
    public uint Flags;
    public ulong GuestPhysAddr;
    public ulong MemorySize;
    public ulong UserspaceAddr;
}

/// <summary>struct kvm_pit_config (KVM API 4.71).</summary>
[StructLayout(LayoutKind.Sequential, Size = 64)]
internal struct KvmPitConfig
{
    public const uint KVM_PIT_SPEAKER_DUMMY = 1;

    public uint Flags;
}

/// <summary>struct kvm_irq_level (KVM API 4.25).</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct KvmIrqLevel
{
    public uint Irq;
    public uint Level;
}

/// <summary>struct kvm_irqfd (KVM API 4.75).</summary>
[StructLayout(LayoutKind.Sequential, Size = 32)]
internal struct KvmIrqfd
{
    public const uint KVM_IRQFD_FLAG_DEASSIGN = 1;
    public const uint KVM_IRQFD_FLAG_RESAMPLE = 2;

    public uint Fd;
    public uint Gsi;
    public uint Flags;
    public uint Resamplefd;
}

/// <summary>struct kvm_ioeventfd (KVM API 4.59).</summary>
[StructLayout(LayoutKind.Sequential, Size = 64)]
internal struct KvmIoeventfd
{
    public const uint KVM_IOEVENTFD_FLAG_DATAMATCH = 1;
    public const uint KVM_IOEVENTFD_FLAG_PIO = 2;
    public const uint KVM_IOEVENTFD_FLAG_DEASSIGN = 4;

    public ulong Datamatch;
    public ulong Addr;
    public uint Len;
    public int Fd;
    public uint Flags;
}

/// <summary>struct kvm_coalesced_mmio_zone (KVM API 4.116): addresses, or ports, of which writes are posted.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct KvmCoalescedMmioZone
{
    public ulong Addr;
    public uint Size;
    public uint Pio;
}

/// <summary>struct kvm_coalesced_mmio: one posted write.</summary>
[StructLayout(LayoutKind.Sequential)]
internal unsafe struct KvmCoalescedMmio
{
    public ulong PhysAddr;
    public uint Len;
    public uint Pio;
    public fixed byte Data[8];
}

/// <summary>struct kvm_coalesced_mmio_ring, a page of a vCPU's mapping that all vCPUs share: user space moves
/// <see cref="First"/>, KVM moves <see cref="Last"/>.</summary>
[StructLayout(LayoutKind.Explicit, Size = 8)]
internal unsafe struct KvmCoalescedMmioRing
{
    /// <summary>KVM_COALESCED_MMIO_MAX with pages of 4 KiB. (KVM reckons with a power of two when it looks for room, and
    /// stops posting at half of it: an exit then, which empties the ring.)</summary>
    public const uint MaximumEntries = (4096 - 8) / 24;

    [FieldOffset(0)] public uint First;
    [FieldOffset(4)] public uint Last;

    /// <summary>The first of them, right behind.</summary>
    public KvmCoalescedMmio* Entries => (KvmCoalescedMmio*)((byte*)System.Runtime.CompilerServices.Unsafe.AsPointer(ref this) + 8);
}

/// <summary>struct kvm_irq_routing_entry (KVM API 4.52); irqchip and msi of the union side by side.</summary>
[StructLayout(LayoutKind.Explicit, Size = 48)]
internal struct KvmIrqRoutingEntry
{
    public const uint KVM_IRQ_ROUTING_IRQCHIP = 1;
    public const uint KVM_IRQ_ROUTING_MSI = 2;

    [FieldOffset(0)] public uint Gsi;
    [FieldOffset(4)] public uint Type;
    [FieldOffset(8)] public uint Flags;
    [FieldOffset(16)] public uint IrqchipIrqchip;
    [FieldOffset(20)] public uint IrqchipPin;
    [FieldOffset(16)] public uint MsiAddressLo;
    [FieldOffset(20)] public uint MsiAddressHi;
    [FieldOffset(24)] public uint MsiData;
}

/// <summary>struct kvm_enable_cap (KVM API 4.37).</summary>
[StructLayout(LayoutKind.Sequential, Size = 104)]
internal unsafe struct KvmEnableCap
{
    public uint Cap;
    public uint Flags;
    public fixed ulong Args[4];
}

/// <summary>struct kvm_msr_filter_range (KVM API 4.97).</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct KvmMsrFilterRange
{
    public const uint KVM_MSR_FILTER_READ = 1;
    public const uint KVM_MSR_FILTER_WRITE = 2;

    public uint Flags;
    public uint Nmsrs;
    public uint Base;
    public nint Bitmap;
}

/// <summary>struct kvm_msr_filter: sixteen ranges, of which vmm uses the first.</summary>
[StructLayout(LayoutKind.Sequential, Size = 392)]
internal struct KvmMsrFilter
{
    public const uint KVM_MSR_FILTER_DEFAULT_ALLOW = 0;

    public uint Flags;
    public KvmMsrFilterRange First;
}

/// <summary>struct kvm_xcrs (KVM API 4.44); vmm uses XCR0 alone.</summary>
[StructLayout(LayoutKind.Explicit, Size = 392)]
internal struct KvmXcrs
{
    [FieldOffset(0)] public uint NrXcrs;
    [FieldOffset(4)] public uint Flags;
    [FieldOffset(8)] public uint FirstXcr;
    [FieldOffset(16)] public ulong FirstValue;
}

/// <summary>struct kvm_signal_mask followed by the kernel's 64-bit signal set (KVM API 4.20).</summary>
[StructLayout(LayoutKind.Sequential, Pack = 4)]
internal struct KvmSignalMask
{
    public uint Len;
    public ulong Sigset;
}

/// <summary>struct kvm_stats_header: where the blocks of a statistics descriptor are (KVM API 4.130).</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct KvmStatsHeader
{
    public uint Flags;
    public uint NameSize;
    public uint NumDesc;
    public uint IdOffset;
    public uint DescOffset;
    public uint DataOffset;
}

/// <summary>struct kvm_stats_desc, without the name that follows it.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct KvmStatsDesc
{
    public uint Flags;
    public short Exponent;
    public ushort Size;
    public uint Offset;
    public uint BucketSize;
}

using System.Runtime.InteropServices;

namespace Vmm.Boot;

/// <summary>The MSRs as a PC's firmware leaves them when it starts a boot loader.</summary>
public static class MsrInitial
{
    public const uint Tsc = 0x10, ApicBase = 0x1b, FeatureControl = 0x3a, SysenterCs = 0x174, SysenterEsp = 0x175, SysenterEip = 0x176,
        MiscEnable = 0x1a0, Pat = 0x277, MtrrDefType = 0x2ff, Star = 0xc000_0081, LStar = 0xc000_0082,
        CStar = 0xc000_0083, FMask = 0xc000_0084, KernelGsBase = 0xc000_0102;

    private const ulong ApicEnabled = 1 << 11, X2ApicMode = 1 << 10, BootProcessor = 1 << 8;

    // SDM volume 4, IA32_FEATURE_CONTROL: the lock bit, VMX outside SMX.
    private const ulong Locked = 1 << 0, VmxOutsideSmx = 1 << 2;

    // SDM volume 4, IA32_MISC_ENABLE. The guest has no debug store (CPUID leaf 1, EDX bit 21), which both would need.
    private const ulong FastStrings = 1 << 0, NoBranchTraceStorage = 1 << 11, NoPebs = 1 << 12;

    // Enable, no fixed ranges (they would each need a type of their own), everything write-back (6).
    private const ulong MtrrWriteBack = (1 << 11) | 6;

    // SDM volume 3, 12.12.4: the value after reset.
    private const ulong PatReset = 0x0007_0406_0007_0406;

    /// <summary>The list for KVM_SET_MSRS.</summary>
    /// <param name="bootProcessor">Is this the vCPU that starts (id 0)?</param>
    /// <param name="vmx">Does its CPUID show VMX?</param>
    /// <param name="x2apic">Whether it starts in x2APIC mode: required for all vCPUs as soon as there are APIC ids of 255 and
    /// above. In xAPIC mode 255 is the broadcast id.</param>
    public static MsrEntry[] For(bool bootProcessor, bool vmx = false, bool x2apic = false) =>
    [
        new(FeatureControl, Locked | (vmx ? VmxOutsideSmx : 0)),
        new(MiscEnable, FastStrings | NoBranchTraceStorage | NoPebs),
        new(MtrrDefType, MtrrWriteBack),
        new(Pat, PatReset),
        new(ApicBase, Layout.LocalApic | ApicEnabled | (bootProcessor ? BootProcessor : 0) | (x2apic ? X2ApicMode : 0)),
        new(SysenterCs, 0),
        new(SysenterEsp, 0),
        new(SysenterEip, 0),
        new(Star, 0),
        new(LStar, 0),
        new(CStar, 0),
        new(FMask, 0),
        new(KernelGsBase, 0),

        // Last, and at nearly the same time on all vCPUs: KVM takes equal writes as a request to synchronize the counters.
        new(Tsc, 0),
    ];
}

/// <summary>A model-specific register and its value: struct kvm_msr_entry of &lt;asm/kvm.h&gt;, 16 bytes.</summary>
[StructLayout(LayoutKind.Sequential)]
public struct MsrEntry(uint index, ulong data)
{
    public uint Index = index;
    public uint Reserved;
    public ulong Data = data;
}

using Vmm.Boot;
using Vmm.Kvm.Abi;
using Vmm.Tests.Shared;

namespace Vmm.Tests.Kvm;

public sealed class AbiTests
{
    [Fact]
    public void Structs_of_KVM_agree_with_the_C_compiler()
    {
        CLayout layout = new CLayout("linux/kvm.h")
            .Struct<KvmRegs>("struct kvm_regs")
            .Struct<KvmSegment>("struct kvm_segment")
            .Struct<KvmDtable>("struct kvm_dtable")
            .Struct<KvmSregs>("struct kvm_sregs")
            .Struct<KvmUserspaceMemoryRegion>("struct kvm_userspace_memory_region")
            .Struct<KvmPitConfig>("struct kvm_pit_config")
            .Struct<KvmIrqLevel>("struct kvm_irq_level")
            .Struct<KvmIrqfd>("struct kvm_irqfd")
            .Struct<KvmIoeventfd>("struct kvm_ioeventfd")
            .Struct<KvmEnableCap>("struct kvm_enable_cap")
            .Struct<KvmStatsHeader>("struct kvm_stats_header")
            .Struct<KvmStatsDesc>("struct kvm_stats_desc")
            .Struct<MsrEntry>("struct kvm_msr_entry")
            .Struct<KvmMsrFilterRange>("struct kvm_msr_filter_range")
            .Struct<KvmMsrFilter>("struct kvm_msr_filter", ("First", "ranges[0]"))
            .Struct<KvmXcrs>("struct kvm_xcrs", ("FirstXcr", "xcrs[0].xcr"), ("FirstValue", "xcrs[0].value"))
            .Struct<KvmIrqRoutingEntry>(
                "struct kvm_irq_routing_entry",
                ("IrqchipIrqchip", "u.irqchip.irqchip"),
                ("IrqchipPin", "u.irqchip.pin"),
                ("MsiAddressLo", "u.msi.address_lo"),
                ("MsiAddressHi", "u.msi.address_hi"),
                ("MsiData", "u.msi.data"))
            .Struct<KvmCoalescedMmioZone>("struct kvm_coalesced_mmio_zone")
            .Struct<KvmCoalescedMmio>("struct kvm_coalesced_mmio")
            .Struct<KvmCoalescedMmioRing>("struct kvm_coalesced_mmio_ring")
            .Struct<KvmVcpuEvents>(
                "struct kvm_vcpu_events",
                ("ExceptionInjected", "exception.injected"),
                ("ExceptionNr", "exception.nr"),
                ("ExceptionHasErrorCode", "exception.has_error_code"),
                ("ExceptionPending", "exception.pending"),
                ("ExceptionErrorCode", "exception.error_code"),
                ("InterruptInjected", "interrupt.injected"),
                ("InterruptNr", "interrupt.nr"),
                ("InterruptSoft", "interrupt.soft"),
                ("InterruptShadow", "interrupt.shadow"),
                ("NmiInjected", "nmi.injected"),
                ("NmiPending", "nmi.pending"),
                ("NmiMasked", "nmi.masked"),
                ("NmiPad", "nmi.pad"),
                ("SmiSmm", "smi.smm"),
                ("SmiPending", "smi.pending"),
                ("SmiInsideNmi", "smi.smm_inside_nmi"),
                ("SmiLatchedInit", "smi.latched_init"),
                ("TripleFaultPending", "triple_fault.pending"))
            .Struct<KvmRun>(
                "struct kvm_run",
                ("HwHardwareExitReason", "hw.hardware_exit_reason"),
                ("FailEntryHardwareEntryFailureReason", "fail_entry.hardware_entry_failure_reason"),
                ("IoDirection", "io.direction"),
                ("IoSize", "io.size"),
                ("IoPort", "io.port"),
                ("IoCount", "io.count"),
                ("IoDataOffset", "io.data_offset"),
                ("MmioPhysAddr", "mmio.phys_addr"),
                ("MmioData", "mmio.data"),
                ("MmioLen", "mmio.len"),
                ("MmioIsWrite", "mmio.is_write"),
                ("InternalSuberror", "internal.suberror"),
                ("InternalNdata", "internal.ndata"),
                ("EmulationFailureFlags", "emulation_failure.flags"),
                ("EmulationFailureInsnSize", "emulation_failure.insn_size"),
                ("EmulationFailureInsnBytes", "emulation_failure.insn_bytes"),
                ("SystemEventType", "system_event.type"),
                ("MsrError", "msr.error"),
                ("MsrReason", "msr.reason"),
                ("MsrIndex", "msr.index"),
                ("MsrData", "msr.data"),
                ("Regs", "s.regs.regs"),
                ("Sregs", "s.regs.sregs"),
                ("Events", "s.regs.events"));
        Assert.True(layout.Count > 150);
        layout.Judge();
    }

    [Fact]
    public void Numbers_of_requests_capabilities_and_exits_agree_with_the_C_compiler()
    {
        var layout = new CLayout("linux/kvm.h");
        foreach (KvmRequest request in Enum.GetValues<KvmRequest>())
        {
            layout.Constant($"(uint32_t){request}", (ulong)request);
        }

        foreach (KvmCapability capability in Enum.GetValues<KvmCapability>())
        {
            layout.Constant($"{capability}", (ulong)capability);
        }

        // Newer than Debian's header.
        foreach (KvmExitReason reason in Enum.GetValues<KvmExitReason>().Where(r => r != KvmExitReason.KVM_EXIT_MEMORY_FAULT))
        {
            layout.Constant($"{reason}", (ulong)reason);
        }

        layout.Constant("KVM_PIT_SPEAKER_DUMMY", KvmPitConfig.KVM_PIT_SPEAKER_DUMMY)
            .Constant("KVM_IRQFD_FLAG_RESAMPLE", KvmIrqfd.KVM_IRQFD_FLAG_RESAMPLE)
            .Constant("KVM_IOEVENTFD_FLAG_DATAMATCH", KvmIoeventfd.KVM_IOEVENTFD_FLAG_DATAMATCH)
            .Constant("KVM_IOEVENTFD_FLAG_DEASSIGN", KvmIoeventfd.KVM_IOEVENTFD_FLAG_DEASSIGN)
            .Constant("offsetof(struct kvm_coalesced_mmio_ring, coalesced_mmio)", 8)
            .Constant("(4096 - sizeof(struct kvm_coalesced_mmio_ring)) / sizeof(struct kvm_coalesced_mmio)", KvmCoalescedMmioRing.MaximumEntries)
            .Constant("KVM_IRQ_ROUTING_MSI", KvmIrqRoutingEntry.KVM_IRQ_ROUTING_MSI)
            .Constant("KVM_MSR_EXIT_REASON_FILTER", 4)
            .Judge();
    }
}

using Vmm.Devices.Memory;
using Vmm.Host;
using Vmm.Kvm.Abi;

namespace Vmm.Kvm;

/// <summary>One VM of KVM: its memory slots, interrupt controllers and event descriptors (KVM API section 4,
/// "vm ioctls").</summary>
internal sealed unsafe class KvmVm : IDisposable
{
    private readonly FileDescriptor _fd;
    private readonly int _vcpuMmapSize;
    private uint _slots;

    internal KvmVm(FileDescriptor fd, int vcpuMmapSize)
    {
        _fd = fd;
        _vcpuMmapSize = vcpuMmapSize;
    }

    public int Fd => _fd.Number;

    /// <summary>In which page of a vCPU's mapping KVM posts writes to ports; null where it cannot.</summary>
    public int? PostedWritesPage => Check(KvmCapability.KVM_CAP_COALESCED_PIO) > 0
        && Check(KvmCapability.KVM_CAP_COALESCED_MMIO) is > 0 and int page
            ? page
            : null;

    /// <summary>Bytes of KVM_GET_XSAVE2 in this VM; null where KVM has only KVM_GET_XSAVE with its 4096 bytes.</summary>
    public int? XsaveSize => Check(KvmCapability.KVM_CAP_XSAVE2) is > 0 and int size ? size : null;

    /// <summary>Lets the guest see a region of this process's memory.</summary>
    public void AddMemory(GuestRegion region)
    {
        var slot = new KvmUserspaceMemoryRegion
        {
            Slot = _slots++,
            GuestPhysAddr = region.Start.Value,
            MemorySize = region.Length,
            UserspaceAddr = (ulong)region.Host,
        };
        Call(KvmRequest.KVM_SET_USER_MEMORY_REGION, &slot);
    }

    /// <summary>The pages that Intel's KVM needs for real mode (KVM API 4.40, 4.41); AMD's ignores them.</summary>
    public void SetRealModePages(GuestAddress identityMap, GuestAddress tss)
    {
        ulong address = identityMap.Value;
        Call(KvmRequest.KVM_SET_IDENTITY_MAP_ADDR, &address);
        KvmIoctl.Call(Fd, KvmRequest.KVM_SET_TSS_ADDR, (nint)tss.Value);
    }

    /// <summary>PIC, IOAPIC and a local APIC for every vCPU, all in the kernel; and the PIT with port 0x61.</summary>
    public void CreateInterruptControllers()
    {
        KvmIoctl.Call(Fd, KvmRequest.KVM_CREATE_IRQCHIP);
        var pit = new KvmPitConfig { Flags = KvmPitConfig.KVM_PIT_SPEAKER_DUMMY };
        Call(KvmRequest.KVM_CREATE_PIT2, &pit);
    }

    public void EnableCapability(KvmCapability capability, ulong argument)
    {
        var enable = new KvmEnableCap { Cap = (uint)capability };
        enable.Args[0] = argument;
        Call(KvmRequest.KVM_ENABLE_CAP, &enable);
    }

    /// <summary>Makes reads and writes of one MSR exits to user space (KVM API 4.97, capability MSR_FILTER).</summary>
    public void ExitOnMsr(uint msr)
    {
        // KVM_MSR_EXIT_REASON_FILTER of KVM_CAP_X86_USER_SPACE_MSR.
        const ulong ExitReasonFilter = 1 << 2;
        EnableCapability(KvmCapability.KVM_CAP_X86_USER_SPACE_MSR, ExitReasonFilter);
        ulong allowed = 0;
        var filter = new KvmMsrFilter
        {
            Flags = KvmMsrFilter.KVM_MSR_FILTER_DEFAULT_ALLOW,
            First = new KvmMsrFilterRange
            {
                Flags = KvmMsrFilterRange.KVM_MSR_FILTER_READ | KvmMsrFilterRange.KVM_MSR_FILTER_WRITE,
                Nmsrs = 1,
                Base = msr,
                Bitmap = (nint)(&allowed),
            },
        };
        Call(KvmRequest.KVM_X86_SET_MSR_FILTER, &filter);
    }

    /// <summary>Sets the level of an input pin of PIC and IOAPIC.</summary>
    public void SetIrqLine(uint gsi, bool high)
    {
        var level = new KvmIrqLevel { Irq = gsi, Level = high ? 1u : 0u };
        Call(KvmRequest.KVM_IRQ_LINE, &level);
    }

    /// <summary>A write to <paramref name="eventFd"/> becomes an edge on <paramref name="gsi"/>, inside the kernel.</summary>
    public void AddIrqFd(EventFd eventFd, uint gsi) => ChangeIrqFd(eventFd, gsi, flags: 0);

    /// <summary>Undoes <see cref="AddIrqFd"/>: after it returns, the eventfd raises no interrupt.</summary>
    public void RemoveIrqFd(EventFd eventFd, uint gsi) => ChangeIrqFd(eventFd, gsi, KvmIrqfd.KVM_IRQFD_FLAG_DEASSIGN);

    /// <summary>A guest's write of <paramref name="value"/> (any value where null) to an address becomes a signal on
    /// <paramref name="eventFd"/> inside the kernel, without an exit to user space.</summary>
    /// <param name="length">Width of the write in bytes: 1, 2, 4, 8; 0 for any, where KVM can.</param>
    public void AddIoEventFd(EventFd eventFd, ulong address, uint length, ulong? value) =>
        ChangeIoEventFd(eventFd, address, length, value, 0);

    public void RemoveIoEventFd(EventFd eventFd, ulong address, uint length, ulong? value) =>
        ChangeIoEventFd(eventFd, address, length, value, KvmIoeventfd.KVM_IOEVENTFD_FLAG_DEASSIGN);

    /// <summary>Starts or stops posting of writes to some ports, instead of an exit for each (KVM API 4.116).</summary>
    public void PostPortWrites(ushort port, uint length, bool on)
    {
        var zone = new KvmCoalescedMmioZone { Addr = port, Size = length, Pio = 1 };
        Call(on ? KvmRequest.KVM_REGISTER_COALESCED_MMIO : KvmRequest.KVM_UNREGISTER_COALESCED_MMIO, &zone);
    }

    /// <summary>Replaces the whole table that says where each GSI leads (KVM API 4.52).</summary>
    public void SetGsiRouting(ReadOnlySpan<KvmIrqRoutingEntry> entries)
    {
        const int HeaderSize = 8;
        byte[] table = new byte[HeaderSize + (entries.Length * sizeof(KvmIrqRoutingEntry))];
        fixed (byte* start = table)
        {
            *(ulong*)start = (uint)entries.Length;

            // SAFETY: the array was made that long two lines above.
            entries.CopyTo(new Span<KvmIrqRoutingEntry>(start + HeaderSize, entries.Length));
            Call(KvmRequest.KVM_SET_GSI_ROUTING, start);
        }
    }

    /// <summary>Does KVM have KVM_GET_SREGS2, which includes the PDPTRs?</summary>
    public bool HasSregs2 => Check(KvmCapability.KVM_CAP_SREGS2) > 0;

    /// <inheritdoc cref="Vcpu.Transfer"/>
    public void Transfer(KvmRequest request, Span<byte> bytes)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(bytes.Length, (int)((uint)request >> 16) & 0x3fff);
        fixed (byte* start = bytes)
        {
            Call(request, start);
        }
    }

    public Vcpu CreateVcpu(int id, GuestMemory memory)
    {
        int fd = KvmIoctl.Call(Fd, KvmRequest.KVM_CREATE_VCPU, id);
        return new Vcpu(new FileDescriptor(fd), _vcpuMmapSize, XsaveSize is not null, id, memory);
    }

    public void Dispose() => _fd.Dispose();

    private void ChangeIrqFd(EventFd eventFd, uint gsi, uint flags)
    {
        var irqfd = new KvmIrqfd { Fd = (uint)eventFd.Number, Gsi = gsi, Flags = flags };
        Call(KvmRequest.KVM_IRQFD, &irqfd);
    }

    private void ChangeIoEventFd(EventFd eventFd, ulong address, uint length, ulong? value, uint flags)
    {
        var ioeventfd = new KvmIoeventfd
        {
            Datamatch = value ?? 0,
            Addr = address,
            Len = length,
            Fd = eventFd.Number,
            Flags = flags | (value is null ? 0 : KvmIoeventfd.KVM_IOEVENTFD_FLAG_DATAMATCH),
        };
        Call(KvmRequest.KVM_IOEVENTFD, &ioeventfd);
    }

    /// <inheritdoc cref="KvmSystem.Check"/>
    private int Check(KvmCapability capability) => KvmIoctl.Call(Fd, KvmRequest.KVM_CHECK_EXTENSION, (nint)capability);

    // SAFETY: every caller passes the struct that the request takes, alive for the length of the call.
    private void Call(KvmRequest request, void* argument) => KvmIoctl.Call(Fd, request, (nint)argument);
}

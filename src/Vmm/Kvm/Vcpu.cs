using Vmm.Boot;
using Vmm.Devices.Memory;
using Vmm.Host;
using Vmm.Kvm.Abi;

namespace Vmm.Kvm;

/// <summary>One vCPU of KVM: its registers and the page it shares with the kernel (KVM API section 4, "vcpu
/// ioctls"). Used by its own thread only, except for <see cref="RequestExit"/>.</summary>
internal sealed unsafe class Vcpu : IDisposable
{
    private readonly FileDescriptor _fd;
    private readonly int _mmapSize;
    private readonly bool _hasXsave2;

    internal Vcpu(FileDescriptor fd, int mmapSize, bool hasXsave2, int id, GuestMemory memory)
    {
        _hasXsave2 = hasXsave2;
        _fd = fd;
        _mmapSize = mmapSize;
        Id = id;
        Memory = memory;
        void* run = LibC.mmap(null, mmapSize, LibC.PROT_READ | LibC.PROT_WRITE, LibC.MAP_SHARED, fd.Number, 0);
        if (run == LibC.MAP_FAILED)
        {
            throw new ErrnoException(
                "mmap of kvm_run", System.Runtime.InteropServices.Marshal.GetLastPInvokeError());
        }

        Run = (KvmRun*)run;
    }

    /// <summary>Number of the vCPU, which is its APIC id as well.</summary>
    public int Id { get; }

    public GuestMemory Memory { get; }

    /// <summary>The page shared with KVM. Valid until <see cref="Dispose"/>.</summary>
    public KvmRun* Run { get; }

    /// <summary>Where KVM posts writes of all vCPUs (<see cref="KvmVm.PostedWritesPage"/>).</summary>
    public KvmCoalescedMmioRing* PostedWrites(int page) => (KvmCoalescedMmioRing*)((byte*)Run + (page * Environment.SystemPageSize));

    /// <summary>Runs the guest until something needs user space. The result of ioctl(2): the caller looks at errno.
    /// </summary>
    public int Enter() => KvmIoctl.Try(_fd.Number, KvmRequest.KVM_RUN);

    /// <summary>Makes the next KVM_RUN come back at once (KVM API section 5, immediate_exit). Any thread.</summary>
    public void RequestExit() => Volatile.Write(ref Run->ImmediateExit, 1);

    public void ClearExitRequest() => Volatile.Write(ref Run->ImmediateExit, 0);

    /// <summary>The thread's signal mask while it is in KVM_RUN: that is how a signal that is blocked elsewhere interrupts
    /// it.</summary>
    public void SetSignalMask(ulong blocked)
    {
        var mask = new KvmSignalMask { Len = sizeof(ulong), Sigset = blocked };
        Call(KvmRequest.KVM_SET_SIGNAL_MASK, &mask);
    }

    public void SetCpuid(ReadOnlySpan<CpuidEntry> entries)
    {
        byte[] table = new byte[KvmCpuidTable.SizeOf(entries.Length)];
        fixed (byte* start = table)
        {
            KvmCpuidTable.Write(start, entries);
            Call(KvmRequest.KVM_SET_CPUID2, start);
        }
    }

    /// <summary>The table of <see cref="SetCpuid"/>, as KVM keeps it.</summary>
    public CpuidEntry[] GetCpuid()
    {
        byte* buffer = stackalloc byte[KvmCpuidTable.SizeOf(KvmCpuidTable.MostEntries)];
        *(uint*)buffer = KvmCpuidTable.MostEntries;
        Call(KvmRequest.KVM_GET_CPUID2, buffer);
        return KvmCpuidTable.Read(buffer);
    }

    /// <summary>A request that takes or fills one struct, as bytes: for saved state.</summary>
    /// <param name="request">KVM_GET_* or KVM_SET_*.</param>
    /// <param name="bytes">Exactly the struct.</param>
    public void Transfer(KvmRequest request, Span<byte> bytes)
    {
        // bits 16..29 of a request number are the struct's size; KVM_GET_XSAVE2 and KVM_SET_XSAVE say less than there is.
        ArgumentOutOfRangeException.ThrowIfLessThan(bytes.Length, (int)((uint)request >> 16) & 0x3fff);
        fixed (byte* start = bytes)
        {
            Call(request, start);
        }
    }

    /// <summary>Sets PVCLOCK_GUEST_STOPPED in the guest's clock page (KVM API 4.70). A guest without that clock needs no notice
    /// (EINVAL).</summary>
    public void NotifyPaused() => _ = KvmIoctl.Try(_fd.Number, KvmRequest.KVM_KVMCLOCK_CTRL);

    /// <returns>False where KVM cannot have the counter run at that frequency.</returns>
    public bool TrySetTscKhz(uint khz) => KvmIoctl.Try(_fd.Number, KvmRequest.KVM_SET_TSC_KHZ, (nint)khz) == 0;

    public KvmRegs GetRegs()
    {
        KvmRegs regs;
        Call(KvmRequest.KVM_GET_REGS, &regs);
        return regs;
    }

    public void SetRegs(KvmRegs regs) => Call(KvmRequest.KVM_SET_REGS, &regs);

    public KvmSregs GetSregs()
    {
        KvmSregs sregs;
        Call(KvmRequest.KVM_GET_SREGS, &sregs);
        return sregs;
    }

    public void SetSregs(KvmSregs sregs) => Call(KvmRequest.KVM_SET_SREGS, &sregs);

    /// <summary>KVM_GET_MP_STATE: does it run, wait, or was it never started?</summary>
    public KvmMpState MpState
    {
        get
        {
            KvmMpState state;
            Call(KvmRequest.KVM_GET_MP_STATE, &state);
            return state;
        }
    }

    public KvmVcpuEvents GetEvents()
    {
        KvmVcpuEvents events;
        Call(KvmRequest.KVM_GET_VCPU_EVENTS, &events);
        return events;
    }

    public void SetEvents(KvmVcpuEvents events) => Call(KvmRequest.KVM_SET_VCPU_EVENTS, &events);

    /// <summary>struct kvm_lapic_state: the 1 KiB of registers as the manual lays them out (SDM 3A, table 10-1).</summary>
    public void GetLapic(Span<byte> registers)
    {
        fixed (byte* start = registers)
        {
            Call(KvmRequest.KVM_GET_LAPIC, start);
        }
    }

    public void SetLapic(ReadOnlySpan<byte> registers)
    {
        fixed (byte* start = registers)
        {
            Call(KvmRequest.KVM_SET_LAPIC, start);
        }
    }

    /// <returns>False where KVM does not know this MSR.</returns>
    public bool TryGetMsr(uint index, out ulong value)
    {
        MsrTable table = new() { Count = 1, Entry = new MsrEntry(index, 0) };
        bool known = KvmIoctl.Call(_fd.Number, KvmRequest.KVM_GET_MSRS, (nint)(&table)) == 1;
        value = table.Entry.Data;
        return known;
    }

    /// <returns>False where KVM does not know this MSR or refuses the value.</returns>
    public bool TrySetMsr(uint index, ulong value)
    {
        MsrTable table = new() { Count = 1, Entry = new MsrEntry(index, value) };
        return KvmIoctl.Call(_fd.Number, KvmRequest.KVM_SET_MSRS, (nint)(&table)) == 1;
    }

    /// <summary>KVM_GET_XSAVE2 into a block of the size that KVM_CAP_XSAVE2 says; KVM_GET_XSAVE where there is no
    /// such capability writes 4096 bytes.</summary>
    public void GetXsave(byte* area) =>
        Call(_hasXsave2 ? KvmRequest.KVM_GET_XSAVE2 : KvmRequest.KVM_GET_XSAVE, area);

    /// <summary>KVM_SET_XSAVE: takes as many bytes as KVM_GET_XSAVE2 gives (KVM API 4.43).</summary>
    public void SetXsave(byte* area) => Call(KvmRequest.KVM_SET_XSAVE, area);

    /// <summary>Frequency of the guest's time-stamp counter in kHz; 0 where KVM does not know it.</summary>
    public uint TscKhz => (uint)Math.Max(0, KvmIoctl.Try(_fd.Number, KvmRequest.KVM_GET_TSC_KHZ));

    public ulong GetXcr0()
    {
        KvmXcrs xcrs;
        Call(KvmRequest.KVM_GET_XCRS, &xcrs);
        return xcrs.FirstValue;
    }

    /// <returns>False where KVM refuses the value.</returns>
    public bool TrySetXcr0(ulong value)
    {
        KvmXcrs xcrs = new() { NrXcrs = 1, FirstXcr = 0, FirstValue = value };
        return KvmIoctl.Try(_fd.Number, KvmRequest.KVM_SET_XCRS, (nint)(&xcrs)) == 0;
    }

    /// <summary>KVM's own counters of this vCPU, by their names (KVM_GET_STATS_FD); none where KVM has no such thing.
    /// </summary>
    public IReadOnlyDictionary<string, ulong> ReadStatistics() => KvmStatistics.Read(_fd.Number);

    public void Dispose()
    {
        // SAFETY: the thread that ran this vCPU has ended; nobody looks at the page any more.
        _ = LibC.munmap(Run, _mmapSize);
        _fd.Dispose();
    }

    // SAFETY: every caller passes the struct that the request takes, alive for the length of the call.
    private void Call(KvmRequest request, void* argument) => KvmIoctl.Call(_fd.Number, request, (nint)argument);

    /// <summary>struct kvm_msrs with room for one.</summary>
    private struct MsrTable
    {
        public uint Count;
        public uint Padding;
        public MsrEntry Entry;
    }
}

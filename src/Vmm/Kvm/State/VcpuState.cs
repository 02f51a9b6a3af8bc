using System.Runtime.InteropServices;
using Vmm.Boot;
using Vmm.Devices.State;
using Vmm.Host;
using Vmm.Kvm.Abi;

namespace Vmm.Kvm.State;

/// <summary>The saved state of one vCPU, in KVM's own structs (KVM API section 4). The vCPU is outside of KVM_RUN, with nothing
/// left to complete (<see cref="VcpuThread"/> parks like that).</summary>
/// <remarks>Not saved: nested virtualization, which vmm shows to no guest.</remarks>
/// <param name="vcpu">The vCPU to save, or a new one to load into.</param>
/// <param name="assist">The instruction assist; null without. MSR_LSTAR then has the assist's value; the state has the
/// guest's.</param>
/// <param name="msrs"><see cref="KvmSystem.GetMsrIndexes"/>.</param>
/// <param name="hasSregs2"><see cref="KvmVm.HasSregs2"/>.</param>
/// <param name="xsaveBytes"><see cref="KvmVm.XsaveSize"/>, or 4096.</param>
internal sealed class VcpuState(Vcpu vcpu, ISavedAssist? assist, uint[] msrs, bool hasSregs2, int xsaveBytes) : ISavedState
{
    private const uint FirstKvmMsr = 0x4b56_4d00, LastKvmMsr = 0x4b56_4dff;
    private const uint TscDeadline = 0x6e0;
    private const int MostMsrs = 4096, CpuidBytes = 40;
    private const int RegsBytes = 144, SregsBytes = 312, Sregs2Bytes = 320, XcrsBytes = 392, DebugBytes = 128, LapicBytes = 1024,
        EventsBytes = 64, MpStateBytes = 4;

    /// <inheritdoc/>
    public void Save(StateWriter state)
    {
        state.Version(1);

        // First, because KVM handles a pending SIPI when it is asked for this state.
        Write(state, "mpState", KvmRequest.KVM_GET_MP_STATE, MpStateBytes);
        state.Write("cpuid", MemoryMarshal.AsBytes<CpuidEntry>(vcpu.GetCpuid()));
        state.Write("tscKhz", vcpu.TscKhz);
        Write(state, "regs", KvmRequest.KVM_GET_REGS, RegsBytes);
        if (hasSregs2)
        {
            Write(state, "sregs2", KvmRequest.KVM_GET_SREGS2, Sregs2Bytes);
        }
        else
        {
            Write(state, "sregs", KvmRequest.KVM_GET_SREGS, SregsBytes);
        }

        Write(state, "xcrs", KvmRequest.KVM_GET_XCRS, XcrsBytes);
        Write(state, "xsave", xsaveBytes > 4096 ? KvmRequest.KVM_GET_XSAVE2 : KvmRequest.KVM_GET_XSAVE, xsaveBytes);
        Write(state, "debugRegs", KvmRequest.KVM_GET_DEBUGREGS, DebugBytes);
        Write(state, "lapic", KvmRequest.KVM_GET_LAPIC, LapicBytes);
        Write(state, "events", KvmRequest.KVM_GET_VCPU_EVENTS, EventsBytes);
        state.Write("msrs", ReadMsrs(), static (fields, msr) =>
        {
            fields.Write("index", msr.Index);
            fields.Write("value", msr.Value);
        });
    }

    /// <inheritdoc/>
    /// <remarks>The order is KVM's: what CPUID says decides which MSRs there are; the APIC's mode is in the special
    /// registers; a TSC deadline needs the counter and the timer's mode; SET_SREGS can inject an interrupt, which the events
    /// then correct; and the MP state, which makes it runnable, comes last.</remarks>
    public void Load(StateReader state)
    {
        state.Version(1);
        LoadCpuid(state);
        uint khz = state.UInt32("tscKhz");
        if (khz != 0 && khz != vcpu.TscKhz && !vcpu.TrySetTscKhz(khz))
        {
            throw state.Refuse("tscKhz", $"is {khz}, and this host's counter runs at {vcpu.TscKhz} kHz and cannot run at another");
        }

        if (state.Has("sregs2"))
        {
            if (!hasSregs2)
            {
                throw state.Refuse("sregs2", "needs a KVM with KVM_SET_SREGS2 (Linux 5.14)");
            }

            Read(state, "sregs2", KvmRequest.KVM_SET_SREGS2, Sregs2Bytes);
        }
        else
        {
            Read(state, "sregs", KvmRequest.KVM_SET_SREGS, SregsBytes);
        }

        Read(state, "xcrs", KvmRequest.KVM_SET_XCRS, XcrsBytes, isEmpty: static xcrs => BitConverter.ToUInt32(xcrs) == 0);
        Read(state, "xsave", KvmRequest.KVM_SET_XSAVE, xsaveBytes);
        Read(state, "debugRegs", KvmRequest.KVM_SET_DEBUGREGS, DebugBytes);
        StateReader[] list = state.List("msrs", 0, MostMsrs);
        LoadMsrs(list, late: false, timerFired: false);
        Read(state, "lapic", KvmRequest.KVM_SET_LAPIC, LapicBytes);
        LoadMsrs(list, late: true, LapicTimer.MayHaveFired(state.Bytes("lapic", LapicBytes, LapicBytes)));
        Read(state, "events", KvmRequest.KVM_SET_VCPU_EVENTS, EventsBytes);
        Read(state, "regs", KvmRequest.KVM_SET_REGS, RegsBytes);
        Read(state, "mpState", KvmRequest.KVM_SET_MP_STATE, MpStateBytes);
        assist?.Forget();
    }

    private void Write(StateWriter state, string name, KvmRequest get, int length)
    {
        byte[] bytes = new byte[length];
        vcpu.Transfer(get, bytes);
        state.Write(name, bytes);
    }

    /// <param name="isEmpty">Is there nothing to set? A processor without XSAVE has no XCRs (nr_xcrs is 0), and KVM takes
    /// none for it.</param>
    private void Read(StateReader state, string name, KvmRequest set, int length, Func<byte[], bool>? isEmpty = null)
    {
        byte[] bytes = state.Bytes(name, length, length);
        if (isEmpty is not null && isEmpty(bytes))
        {
            return;
        }

        try
        {
            vcpu.Transfer(set, bytes);
        }
        catch (ErrnoException error)
        {
            throw state.Refuse(name, $"this host's KVM does not take it: {error.Message}");
        }
    }

    private void LoadCpuid(StateReader state)
    {
        byte[] bytes = state.Bytes("cpuid", CpuidBytes, KvmCpuidTable.MostEntries * CpuidBytes);
        if (bytes.Length % CpuidBytes != 0)
        {
            throw state.Refuse("cpuid", $"is no table of {CpuidBytes} bytes an entry");
        }

        ReadOnlySpan<CpuidEntry> table = MemoryMarshal.Cast<byte, CpuidEntry>(bytes);
        if (CpuidTables.AreSame(table, vcpu.GetCpuid()))
        {
            return;
        }

        try
        {
            vcpu.SetCpuid(table);
        }
        catch (ErrnoException error)
        {
            throw state.Refuse("cpuid", $"this host's KVM does not take it: {error.Message}");
        }
    }

    /// <summary>Those of KVM's list that this processor has, and KVM's own.</summary>
    private List<(uint Index, ulong Value)> ReadMsrs()
    {
        var values = new List<(uint, ulong)>();
        var seen = new HashSet<uint>();
        foreach (uint index in msrs)
        {
            Add(index);
        }

        for (uint index = FirstKvmMsr; index <= LastKvmMsr; index++)
        {
            Add(index);
        }

        return values;

        void Add(uint index)
        {
            if (seen.Add(index) && vcpu.TryGetMsr(index, out ulong value))
            {
                values.Add((index, index == MsrInitial.LStar && assist is not null ? assist.ReadLstar() : value));
            }
        }
    }

    /// <param name="late">Load only IA32_TSC_DEADLINE, which needs the timer's mode and the counter; else all others.</param>
    /// <param name="timerFired">Load a deadline of 0 as 1, so that the timer fires (<see cref="LapicTimer.MayHaveFired"/>).</param>
    private void LoadMsrs(StateReader[] list, bool late, bool timerFired)
    {
        foreach (StateReader msr in list)
        {
            uint index = msr.UInt32("index");
            ulong value = msr.UInt64("value");
            msr.End();
            value = index == TscDeadline && value == 0 && timerFired ? 1 : value;
            if (index == TscDeadline == late && !TrySetMsr(index, value)
                && !(vcpu.TryGetMsr(index, out ulong now) && now == value))
            {
                throw msr.Refuse("value", $"0x{value:x} is not what this host's KVM takes for MSR 0x{index:x}");
            }
        }
    }

    private bool TrySetMsr(uint index, ulong value) =>
        index == MsrInitial.LStar && assist is not null ? assist.TryWriteLstar(value) : vcpu.TrySetMsr(index, value);
}

/// <summary>The part of the instruction assist that saved state needs: on PVM hosts it keeps its own value in MSR_LSTAR, and
/// the state must have the guest's. It has no other state between exits.</summary>
internal interface ISavedAssist
{
    /// <summary>MSR_LSTAR as the guest wrote it. Called between exits, by the thread that may use the vCPU then.</summary>
    ulong ReadLstar();

    /// <summary>MSR_LSTAR from a saved state, once the special registers and guest memory are loaded.</summary>
    /// <returns>False where the processor cannot take the value.</returns>
    bool TryWriteLstar(ulong value);

    /// <summary>The vCPU's state was replaced: drops cached registers, without writing them back.
    /// </summary>
    void Forget();
}

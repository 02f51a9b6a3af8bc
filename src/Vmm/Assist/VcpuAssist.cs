using System.Runtime.InteropServices;
using Vmm.Devices.Memory;
using Vmm.Host;
using Vmm.Kvm;
using Vmm.Kvm.Abi;
using Vmm.Kvm.State;

namespace Vmm.Assist;

/// <summary>Connects one vCPU to the assist: passes it the registers, and writes changed ones back to KVM.</summary>
/// <remarks>
/// Registers live in the sync-regs area of the shared page, filled by ioctl when first asked for. On PVM hosts, where assisted
/// instructions come in sequences, KVM is asked to fill it at the next exit as well (kvm_valid_regs), until an exit comes that
/// needs no registers (ExitHandler clears it): filling makes every exit slower, and accesses to devices come in sequences, too.
/// Changed registers are written back by kvm_dirty_regs, in the next KVM_RUN (KVM API
/// section 5, KVM_CAP_SYNC_REGS).
/// </remarks>
internal sealed unsafe class VcpuAssist : IExitAssist, IExitDetail, IAssistCpu, ISavedAssist, IDisposable
{
    private const ulong SyncRegs = 1, SyncSregs = 2;
    private const uint Lstar = 0xc000_0082;
    private const int XsaveAlignment = 64;

    private readonly Vcpu _vcpu;
    private readonly KvmRun* _run;
    private readonly bool _isPvm;
    private readonly int _xsaveSize;
    private readonly CodePages? _code;
    private byte* _xsave;
    private InstructionAssist? _assist;
    private bool _haveRegs, _haveSregs, _haveXsave, _haveXcr0;
    private ulong _xcr0;

    /// <param name="kind">On PVM hosts the assist is part of every boot.</param>
    /// <param name="xsaveSize">Bytes of KVM_GET_XSAVE2 (KVM_CAP_XSAVE2); 4096 where there is only KVM_GET_XSAVE.</param>
    public VcpuAssist(Vcpu vcpu, HostKind kind, int xsaveSize)
    {
        _vcpu = vcpu;
        _run = vcpu.Run;
        _xsaveSize = xsaveSize;
        _isPvm = kind == HostKind.Pvm;
        _code = _isPvm ? new CodePages(NativeEntry.Length) : null;
        _run->KvmValidRegs = 0;
    }

    /// <summary>Assisted instructions by name.</summary>
    public IEnumerable<(string Name, long Count)> Counts => _assist?.Counts ?? [];

    public int LastInstruction => (int)(_assist?.LastMnemonic ?? default);

    public string NameOf(int instruction) => instruction == 0
        ? "unknown instruction"
        : ((Iced.Intel.Mnemonic)instruction).ToString().ToLowerInvariant();

    public GuestMemory Memory => _vcpu.Memory;

    public ref KvmRegs Regs
    {
        get
        {
            if (!_haveRegs)
            {
                _run->Regs = _vcpu.GetRegs();
                _haveRegs = true;
            }

            return ref _run->Regs;
        }
    }

    public ref KvmSregs Sregs
    {
        get
        {
            if (!_haveSregs)
            {
                _run->Sregs = _vcpu.GetSregs();
                _haveSregs = true;
            }

            return ref _run->Sregs;
        }
    }

    public ulong Xcr0
    {
        get
        {
            if (!_haveXcr0)
            {
                _xcr0 = _vcpu.GetXcr0();
                _haveXcr0 = true;
            }

            return _xcr0;
        }
    }

    private InstructionAssist Assist => _assist ??= new InstructionAssist(this, _code);

    public void MarkRegsDirty() => _run->KvmDirtyRegs |= SyncRegs;

    public void MarkSregsDirty()
    {
        // Bits in it make KVM inject those interrupts, whatever IF says (__set_sregs). At an exit KVM sets the bit of a pending
        // one, but never clears any in this page (store_regs): an old one would be injected a second time.
        _run->Sregs.InterruptBitmap = default;
        _run->KvmDirtyRegs |= SyncSregs;
    }

    public Span<byte> LoadXsave()
    {
        if (_xsave is null)
        {
            _xsave = (byte*)NativeMemory.AlignedAlloc((nuint)_xsaveSize, XsaveAlignment);
        }

        if (!_haveXsave)
        {
            _vcpu.GetXsave(_xsave);
            _haveXsave = true;
        }

        // SAFETY: the block is that long and lives until Dispose.
        return new Span<byte>(_xsave, _xsaveSize);
    }

    public void StoreXsave() => _vcpu.SetXsave(_xsave);

    public bool TrySetXcr0(ulong value)
    {
        if (!_vcpu.TrySetXcr0(value))
        {
            return false;
        }

        (_xcr0, _haveXcr0) = (value, true);
        return true;
    }

    public bool TryGetMsr(uint index, out ulong value) => _vcpu.TryGetMsr(index, out value);

    public bool TrySetMsr(uint index, ulong value) => _vcpu.TrySetMsr(index, value);

    public void InjectException(byte vector, bool hasErrorCode, uint errorCode)
    {
        KvmVcpuEvents events = _vcpu.GetEvents();
        events.ExceptionInjected = 1;
        events.ExceptionPending = 0;
        events.ExceptionNr = vector;
        events.ExceptionHasErrorCode = hasErrorCode ? (byte)1 : (byte)0;
        events.ExceptionErrorCode = errorCode;
        events.ExceptionHasPayload = 0;
        _vcpu.SetEvents(events);
    }

    public GuestStop? Complete(ReadOnlySpan<byte> bytes)
    {
        Begin();
        AssistOutcome outcome = Assist.TryHandle(bytes);
        return outcome.Kind == AssistKind.Unknown ? GuestStop.Crashed($"{outcome.Text} (vCPU {_vcpu.Id})") : null;
    }

    public bool HandleMsr(bool isWrite)
    {
        if (_run->MsrIndex != Lstar)
        {
            return false;
        }

        Begin();
        if (isWrite)
        {
            return Assist.Syscall.OnWriteLstar(_run->MsrData);
        }

        _run->MsrData = Assist.Syscall.OnReadLstar();
        return true;
    }

    public ulong ReadLstar()
    {
        Forget();
        return Assist.Syscall.OnReadLstar();
    }

    public bool TryWriteLstar(ulong value)
    {
        Forget();
        return _isPvm ? Assist.Syscall.OnWriteLstar(value) : _vcpu.TrySetMsr(Lstar, value);
    }

    public void Forget()
    {
        _haveRegs = _haveSregs = _haveXsave = _haveXcr0 = false;
        _run->KvmDirtyRegs = 0;
    }

    public GuestStop? AfterKick()
    {
        if (_isPvm && _run->ExitReason == KvmExitReason.KVM_EXIT_INTR)
        {
            Begin();
            Assist.Hypercall.OnKick();
        }

        return null;
    }

    public string Where()
    {
        Begin();
        return $" at RIP 0x{Regs.Rip:x} (vCPU {_vcpu.Id}, CS base 0x{Sregs.Cs.Base:x}, RSP 0x{Regs.Rsp:x}, "
            + $"CR2 0x{Sregs.Cr2:x}, CR3 0x{Sregs.Cr3:x})";
    }

    public void Dispose()
    {
        _assist?.Dispose();
        _code?.Dispose();
        NativeMemory.AlignedFree(_xsave);
    }

    /// <summary>Begins a new exit: registers fetched at the last one are outdated.</summary>
    private void Begin()
    {
        _haveRegs = _haveSregs = _run->KvmValidRegs != 0;
        _haveXsave = _haveXcr0 = false;
        if (_isPvm)
        {
            _run->KvmValidRegs = SyncRegs | SyncSregs;
        }
    }
}

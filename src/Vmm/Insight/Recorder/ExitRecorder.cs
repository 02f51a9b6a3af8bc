using Vmm.Assist;
using Vmm.Devices.Bus;
using Vmm.Host;
using Vmm.Insight.Profile;
using Vmm.Insight.Trace;
using Vmm.Kvm;
using Vmm.Kvm.Abi;

namespace Vmm.Insight.Recorder;

/// <summary>Counts and times the exits of one vCPU, by reason, device and register.</summary>
/// <remarks>
/// Used by the vCPU's thread; others may read the totals and the rows at any time. An exit costs two clock
/// readings and two histogram updates; something is allocated only for the first exit of a row, and there are
/// at most <see cref="MostRows"/> of them whatever the guest does: further exits share one row for each reason.
/// </remarks>
internal sealed unsafe class ExitRecorder
{
    public const int MostRows = 512;

    /// <summary>Most rows of addresses without a device: the guest can choose any of these, and must not use up the rows of the
    /// devices.</summary>
    public const int MostUnclaimedRows = 128;

    /// <summary>The device of addresses that no device answers to.</summary>
    public const string Nobody = "nobody";

    /// <summary>The device that finishes instructions.</summary>
    public const string Assist = "assist";

    /// <summary>The register's name in the rows that further exits share.</summary>
    public const string OtherAddresses = "other addresses";

    private const byte IoOut = 1;
    private const uint SuberrorEmulation = 1;
    private const uint WriteBit = 1 << 8;
    private const int SizeShift = 16;
    private const uint SignalKind = 0x100, EagainKind = 0x200, OtherErrorKind = 0x300;

    private readonly KvmRun* _run;
    private readonly AddressBus _ports;
    private readonly AddressBus _mmio;
    private readonly IExitDetail _detail;
    private readonly TraceTrack? _trace;
    private readonly ExitKeys _keys = new();
    private volatile ExitRow[] _rows = [];
    private long _entered;
    private long _left;
    private int _portChanges;
    private int _mmioChanges;
    private int _unclaimedRows;
    private long _exits;
    private long _vmmTime;

    /// <param name="detail">Adds what the KVM_RUN page does not hold: which instruction was assisted.</param>
    /// <param name="trace">Gets each exit as well; null when no trace is written.</param>
    public ExitRecorder(KvmRun* run, AddressBus ports, AddressBus mmio, IExitDetail detail, TraceTrack? trace)
    {
        _run = run;
        _ports = ports;
        _mmio = mmio;
        _detail = detail;
        _trace = trace;
    }

    /// <summary>In the order of their first exits. Any thread: the array is replaced when a row is added.</summary>
    public IReadOnlyList<ExitRow> Rows => _rows;

    /// <summary>Exits recorded so far. Any thread.</summary>
    public long Exits => Volatile.Read(ref _exits);

    /// <summary>Nanoseconds in user space so far. Any thread.</summary>
    public long VmmTime => Volatile.Read(ref _vmmTime);

    /// <summary>When KVM_RUN came back for the first time, as a Stopwatch timestamp; 0 before.</summary>
    public long FirstExit { get; private set; }

    public void Begin() => _entered = MonotonicClock.Now();

    public void Left() => _left = MonotonicClock.Now();

    public void Handled()
    {
        KvmExitReason reason = _run->ExitReason;
        switch (reason)
        {
            case KvmExitReason.KVM_EXIT_IO:
                Record(Row(_run->IoPort, Kind(reason, _run->IoDirection == IoOut, _run->IoSize)));
                break;
            case KvmExitReason.KVM_EXIT_MMIO:
                Record(Row(_run->MmioPhysAddr, Kind(reason, _run->MmioIsWrite != 0, _run->MmioLen)));
                break;
            case KvmExitReason.KVM_EXIT_X86_RDMSR or KvmExitReason.KVM_EXIT_X86_WRMSR:
                Record(Row(_run->MsrIndex, (uint)reason));
                break;
            case KvmExitReason.KVM_EXIT_INTERNAL_ERROR:
                Record(_run->InternalSuberror == SuberrorEmulation
                    ? Row((ulong)_detail.LastInstruction, (uint)reason)
                    : Row(_run->InternalSuberror, (uint)reason | OtherErrorKind));
                break;
            default:
                Record(Row(0, (uint)reason & 0xff));
                break;
        }
    }

    /// <param name="errno">The errno of KVM_RUN.</param>
    public void Interrupted(int errno)
    {
        bool isSignal = errno == ErrnoException.EINTR && _run->ExitReason == KvmExitReason.KVM_EXIT_INTR;
        Record(Row(0, (uint)KvmExitReason.KVM_EXIT_INTR
            | (isSignal ? SignalKind : errno == ErrnoException.EINTR ? 0 : errno == ErrnoException.EAGAIN ? EagainKind : OtherErrorKind)));

        // KVM leaves the page as it is when immediate_exit made it come back: do not take this for a signal again.
        _run->ExitReason = KvmExitReason.KVM_EXIT_UNKNOWN;
    }

    private static uint Kind(KvmExitReason reason, bool write, uint size) =>
        ((uint)reason & 0xff) | (write ? WriteBit : 0) | ((size & 0xff) << SizeShift);

    private void Record(ExitRow row)
    {
        long now = MonotonicClock.Now();
        long inKvm = _left - _entered;
        long inVmm = now - _left;
        row.InKvm.Record(inKvm);
        row.InVmm.Record(inVmm);
        _trace?.Add(_entered, inKvm, inVmm, row);
        if (_exits == 0)
        {
            FirstExit = _left;
        }

        Volatile.Write(ref _exits, _exits + 1);
        Volatile.Write(ref _vmmTime, _vmmTime + inVmm);
        _entered = now;
    }

    private ExitRow Row(ulong address, uint kind)
    {
        if (_ports.Changes != _portChanges || _mmio.Changes != _mmioChanges)
        {
            (_portChanges, _mmioChanges) = (_ports.Changes, _mmio.Changes);
            _keys.Clear();
        }

        return _keys.Find(address, kind) ?? NewKey(address, kind);
    }

    private ExitRow NewKey(ulong address, uint kind)
    {
        var reason = (KvmExitReason)(kind & 0xff);
        IBusDevice? device = null;
        ExitName name = reason switch
        {
            KvmExitReason.KVM_EXIT_IO => NameOf(reason, _ports, "port ", address, kind, out device),
            KvmExitReason.KVM_EXIT_MMIO => NameOf(reason, _mmio, "", address, kind, out device),
            KvmExitReason.KVM_EXIT_X86_RDMSR => new ExitName(Short(reason), "", MsrNames.Of((uint)address), "read 8"),
            KvmExitReason.KVM_EXIT_X86_WRMSR => new ExitName(Short(reason), "", MsrNames.Of((uint)address), "write 8"),
            KvmExitReason.KVM_EXIT_INTERNAL_ERROR when (kind & OtherErrorKind) != 0 =>
                new ExitName(Short(reason), "", $"suberror {address}", ""),
            KvmExitReason.KVM_EXIT_INTERNAL_ERROR =>
                new ExitName(Short(reason), Assist, _detail.NameOf((int)address), ""),
            KvmExitReason.KVM_EXIT_INTR => new ExitName(Short(reason), "", (kind & ~0xffu) switch
            {
                SignalKind => "signal",
                EagainKind => "EAGAIN",
                OtherErrorKind => "error",
                _ => "immediate_exit",
            }, ""),
            _ => new ExitName(Short(reason), "", "", ""),
        };
        bool isUnclaimed = device is null && reason is KvmExitReason.KVM_EXIT_IO or KvmExitReason.KVM_EXIT_MMIO;
        ExitRow row = FindOrAddRow(name, isUnclaimed);
        _ = _keys.TryAdd(address, kind, device, row);       // when the table is full, each such exit searches again
        return row;
    }

    private ExitRow FindOrAddRow(ExitName name, bool isUnclaimed)
    {
        foreach (ExitRow row in _rows)
        {
            if (row.Name == name)
            {
                return row;
            }
        }

        bool isOther = name.What == OtherAddresses;
        if (!isOther && (_rows.Length >= MostRows || (isUnclaimed && _unclaimedRows >= MostUnclaimedRows)))
        {
            return FindOrAddRow(name with { Device = isUnclaimed ? Nobody : "", What = OtherAddresses, Access = "" }, false);
        }

        _unclaimedRows += isUnclaimed ? 1 : 0;
        var added = new ExitRow(name);
        _rows = [.. _rows, added];
        return added;
    }

    private static ExitName NameOf(
        KvmExitReason reason, AddressBus bus, string prefix, ulong address, uint kind, out IBusDevice? device)
    {
        BusRange? range = bus.Find(address);
        device = range?.Device;
        bool write = (kind & WriteBit) != 0;
        string access = $"{(write ? "write" : "read")} {kind >> SizeShift}";
        string register = range?.Device.RegisterName(address - range.Start, write) ?? $"{prefix}0x{address:x}";
        return new ExitName(Short(reason), device?.Name ?? Nobody, register, access);
    }

    private static string Short(KvmExitReason reason) =>
        reason.ToString().Replace("KVM_EXIT_", "", StringComparison.Ordinal);
}

/// <summary>Passes each exit to the recorder.</summary>
internal readonly struct RecordingProbe(ExitRecorder recorder) : IExitProbe
{
    public void Begin() => recorder.Begin();

    public void Left() => recorder.Left();

    public void Handled() => recorder.Handled();

    public void Interrupted(int errno) => recorder.Interrupted(errno);
}

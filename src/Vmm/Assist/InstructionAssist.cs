using Iced.Intel;
using Vmm.Host;
using Vmm.Kvm.Abi;

namespace Vmm.Assist;

/// <summary>Finishes instructions of the guest's kernel that KVM's emulator cannot (KVM_EXIT_INTERNAL_ERROR,
/// suberror KVM_INTERNAL_ERROR_EMULATION). One per vCPU, used by that vCPU's thread.</summary>
internal sealed class InstructionAssist : IDisposable
{
    /// <summary>Longest instruction (Intel SDM volume 2, 2.3.11).</summary>
    private const int MaxLength = 15;

    /// <summary>How many instructions are executed beyond the one that KVM could not: few enough that an interrupt
    /// waits some ten microseconds at most.</summary>
    private const int AheadLimit = 64;

    private readonly IAssistCpu _cpu;
    private readonly AssistContext _context;
    private readonly AssistCounters _counters = new();
    private readonly CodePages? _code;
    private Dispatcher? _dispatcher;
    private readonly InstructionBytes _bytes = new();
    private readonly Decoder?[] _decoders = new Decoder?[3];
    private long _accessFlagCount;
    private long _aheadCount;

    /// <param name="code">Memory for code, owned by the caller; null to allocate it when it is needed.</param>
    public InstructionAssist(IAssistCpu cpu, CodePages? code = null)
    {
        (_cpu, _code) = (cpu, code);
        _context = new AssistContext(cpu);
        Syscall = new SyscallLanding(cpu);
        Hypercall = new StuckHypercall(cpu, _context.Memory);
    }

    public SyscallLanding Syscall { get; }

    public StuckHypercall Hypercall { get; }

    /// <summary>The instruction at which the last exit was: a <see cref="Mnemonic"/>. For a SYSCALL that was completed it is
    /// SYSCALL; of a sequence of vector instructions it is the first.</summary>
    public Mnemonic LastMnemonic { get; private set; }

    /// <summary>Instructions by name, the commonest first. Any thread.</summary>
    public IEnumerable<(string Name, long Count)> Counts
    {
        get
        {
            IEnumerable<(string Name, long Count)> counts = _counters.ByCount()
                .Append(("clac+stac", _accessFlagCount))
                .Append(("between stac and clac", _aheadCount))
                .Append(("syscall", Syscall.Count))
                .Append(("vmcall", Hypercall.Count));
            return counts.Where(entry => entry.Count != 0).OrderByDescending(entry => entry.Count);
        }
    }

    /// <summary>Executes the instruction at RIP.</summary>
    /// <param name="bytes">Its first bytes, as KVM gave them; may be empty.</param>
    public AssistOutcome TryHandle(ReadOnlySpan<byte> bytes)
    {
        // By far the most common instructions, before and after every copy from and to user space.
        if (IsAccessFlagSetter(bytes, out bool isOpen) && GuestMode.Cpl(_cpu) == 0)
        {
            LastMnemonic = isOpen ? Mnemonic.Stac : Mnemonic.Clac;
            SetAccess(isOpen);
            if (isOpen)
            {
                RunWindow();
            }

            return new AssistOutcome(AssistKind.Handled);
        }

        if (Syscall.TryComplete())
        {
            LastMnemonic = Mnemonic.Syscall;
            return new AssistOutcome(AssistKind.Handled);
        }

        LastMnemonic = Mnemonic.INVALID;
        AssistOutcome outcome = TryDecode(bytes, out AssistOutcome failure) ? Execute() : failure;
        _context.FlushXsave();
        return outcome;
    }

    private AssistOutcome Execute()
    {
        // Made when first needed: it executes many CPUID instructions, and most hosts never get here.
        _dispatcher ??= new Dispatcher(_context, _code);
        LastMnemonic = _context.Instruction.Mnemonic;
        Step step = _dispatcher.Execute(_bytes.Seen[.._context.Instruction.Length], out bool canRunAhead);
        if (step != Step.Unknown)
        {
            _counters.Add(_context.Instruction.Mnemonic);
        }

        switch (step)
        {
            case Step.Next:
                Advance(ref _cpu.Regs, _context.Instruction.Length);
                return canRunAhead ? RunAhead() : new AssistOutcome(AssistKind.Handled);
            case Step.Jumped:
                return new AssistOutcome(AssistKind.Handled);
            case Step.Fault:
                return Inject();
            case Step.Trap:
                Advance(ref _cpu.Regs, _context.Instruction.Length);
                return Inject();
            default:
                return Unknown(_context.Instruction.ToString(), _bytes.Seen[.._context.Instruction.Length]);
        }
    }

    public void Dispose() => _dispatcher?.Dispose();

    /// <summary>Vector code comes in long sequences, of which each instruction would be an exit and two calls to move the
    /// vector registers: continues as long as the instructions are of that kind.</summary>
    private AssistOutcome RunAhead()
    {
        for (int i = 0; i < AheadLimit && TryDecodeNext(); i++)
        {
            Step step = _dispatcher!.ExecuteAhead(_bytes.Seen[.._context.Instruction.Length]);
            if (step == Step.Fault)
            {
                _counters.Add(_context.Instruction.Mnemonic);
                return Inject();
            }

            if (step != Step.Next)
            {
                break;
            }

            _counters.Add(_context.Instruction.Mnemonic);
            Advance(ref _cpu.Regs, _context.Instruction.Length);
        }

        return new AssistOutcome(AssistKind.Handled);
    }

    /// <summary>Continues after a STAC until the CLAC, or the first instruction that KVM should execute. Exceptions, too, are
    /// raised by KVM, which then executes the instruction from its start.</summary>
    private void RunWindow()
    {
        _dispatcher ??= new Dispatcher(_context, _code);
        _dispatcher.OpenWindow();
        for (int i = 0; i < AheadLimit && TryDecodeNext(); i++)
        {
            if (IsAccessFlagSetter(_bytes.Seen, out bool isOpen))
            {
                SetAccess(isOpen);
                if (!isOpen)
                {
                    break;
                }

                continue;
            }

            Step step = _dispatcher.ExecuteInWindow(_bytes.Seen[.._context.Instruction.Length]);
            if (step is not (Step.Next or Step.Jumped))
            {
                break;
            }

            _aheadCount++;
            if (step == Step.Next)
            {
                Advance(ref _cpu.Regs, _context.Instruction.Length);
            }
        }

        _context.FlushXsave();
    }

    /// <summary>Decodes the next instruction; false while the guest single-steps (TF).</summary>
    private bool TryDecodeNext()
    {
        if ((_cpu.Regs.Rflags & Bits.FlagTf) != 0)
        {
            return false;
        }

        Span<byte> fetched = stackalloc byte[MaxLength];
        int count = _context.Memory.Fetch(LinearRip(), fetched, out _);
        _bytes.Set(fetched[..count]);
        _context.Reason = null;
        return count != 0 && Decode();
    }

    /// <summary>0f 01 ca CLAC, 0f 01 cb STAC.</summary>
    private static bool IsAccessFlagSetter(ReadOnlySpan<byte> bytes, out bool isOpen)
    {
        isOpen = bytes.Length >= 3 && (bytes[2] & 1) != 0;
        return bytes.Length >= 3 && bytes[0] == 0x0F && bytes[1] == 0x01 && (bytes[2] & 0xFE) == 0xCA;
    }

    private void SetAccess(bool isOpen)
    {
        _accessFlagCount++;
        ref KvmRegs regs = ref _cpu.Regs;
        regs.Rflags = (regs.Rflags & ~Bits.FlagAc) | (isOpen ? Bits.FlagAc : 0);
        Advance(ref regs, 3);
    }

    private ulong LinearRip()
    {
        ref readonly KvmSregs sregs = ref _cpu.Sregs;
        return GuestMode.Is64Bit(in sregs) ? _cpu.Regs.Rip : (uint)(sregs.Cs.Base + _cpu.Regs.Rip);
    }

    private AssistOutcome Inject()
    {
        GuestFault fault = _context.Fault;
        if (fault.Vector == GuestFault.PfVector)
        {
            _cpu.Sregs.Cr2 = fault.Address;
            _cpu.MarkSregsDirty();
        }

        _cpu.InjectException(fault.Vector, fault.HasErrorCode, fault.ErrorCode);
        return new AssistOutcome(AssistKind.Injected);
    }

    private void Advance(ref KvmRegs regs, int length)
    {
        ulong rip = regs.Rip + (uint)length;
        regs.Rip = GuestMode.Is64Bit(in _cpu.Sregs) ? rip : (uint)rip;
        _cpu.MarkRegsDirty();
    }

    /// <summary>Decodes at RIP, with KVM's bytes if they suffice and with what is in memory if not.</summary>
    private bool TryDecode(ReadOnlySpan<byte> bytes, out AssistOutcome failure)
    {
        failure = default;
        _context.Reason = null;
        _bytes.Set(bytes[..Math.Min(bytes.Length, MaxLength)]);
        if (Decode())
        {
            return true;
        }

        Span<byte> fetched = stackalloc byte[MaxLength];
        int count = _context.Memory.Fetch(LinearRip(), fetched, out AccessResult result);
        if (count > bytes.Length)
        {
            _bytes.Set(fetched[..count]);
            if (Decode())
            {
                return true;
            }
        }

        if (count < MaxLength && result == AccessResult.Fault && _bytes.WasShort)
        {
            _context.Raise(_context.Memory.Fault);
            failure = Inject();
            return false;
        }

        failure = Unknown("an instruction", _bytes.Seen);
        return false;
    }

    private bool Decode()
    {
        int bitness = GuestMode.Bitness(in _cpu.Sregs);
        ref Decoder? decoder = ref _decoders[bitness >> 5];
        decoder ??= Decoder.Create(bitness, _bytes);
        decoder.IP = _cpu.Regs.Rip;
        decoder.Decode(out _context.Instruction);
        return !_context.Instruction.IsInvalid;
    }

    /// <summary>A program of the guest cannot end the VM: it gets #UD, as it would from KVM by default.</summary>
    private AssistOutcome Unknown(string what, ReadOnlySpan<byte> bytes)
    {
        if (GuestMode.Cpl(_cpu) == 3)
        {
            _context.Raise(GuestFault.Ud);
            return Inject();
        }

        string reason = _context.Reason is { } text ? $" ({text})" : "";
        string hex = bytes.IsEmpty ? "none could be read" : Convert.ToHexStringLower(bytes);
        return new AssistOutcome(
            AssistKind.Unknown, $"{what} at RIP 0x{_cpu.Regs.Rip:x}, bytes {hex}: vmm cannot emulate it{reason}");
    }

    /// <summary>Feeds the decoder without allocating.</summary>
    private sealed class InstructionBytes : CodeReader
    {
        private readonly byte[] _bytes = new byte[MaxLength];
        private int _length;
        private int _position;

        /// <summary>Did the decoder ask for more than there was?</summary>
        public bool WasShort { get; private set; }

        public ReadOnlySpan<byte> Seen => _bytes.AsSpan(0, _length);

        public void Set(ReadOnlySpan<byte> bytes)
        {
            bytes.CopyTo(_bytes);
            _length = bytes.Length;
            _position = 0;
            WasShort = false;
        }

        public override int ReadByte()
        {
            if (_position < _length)
            {
                return _bytes[_position++];
            }

            WasShort = true;
            return -1;
        }
    }
}

/// <summary>The result of the assist for an instruction.</summary>
/// <param name="Kind">What happened.</param>
/// <param name="Text">For <see cref="AssistKind.Unknown"/>: the instruction, its address, its bytes and the reason, on one line
/// for the user. Otherwise null.</param>
internal readonly record struct AssistOutcome(AssistKind Kind, string? Text = null);

internal enum AssistKind
{
    /// <summary>Done; the guest continues behind it.</summary>
    Handled,

    /// <summary>Done: the guest gets an exception at the next KVM_RUN.</summary>
    Injected,

    /// <summary>The VM cannot continue.</summary>
    Unknown,
}

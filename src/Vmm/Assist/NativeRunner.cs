using System.Buffers.Binary;
using Iced.Intel;
using Vmm.Host;
using Vmm.Kvm.Abi;

namespace Vmm.Assist;

/// <summary>Executes unprivileged instructions on this processor: one at a time, re-encoded by vmm, with the guest's registers
/// and a copy of the memory operand. The processor itself computes the result; this class checks everything that could make the
/// instruction fault (Intel SDM volume 2, 2.4 and 2.8).</summary>
internal sealed unsafe class NativeRunner : IDisposable
{
    private readonly AssistContext _context;
    private readonly Dictionary<UInt128, NativePlan> _plans = [];
    private readonly EncodeInstruction _encode;
    private readonly Writer _writer = new();
    private readonly Encoder _encoder;
    private readonly CodePages? _code;
    private NativeEntry? _entry;

    /// <param name="code">For <see cref="NativeEntry"/>; null to allocate it when it is needed.</param>
    public NativeRunner(AssistContext context, CodePages? code)
    {
        (_context, _code) = (context, code);
        _encoder = Encoder.Create(64, _writer);
        _encode = Encode;
    }

    /// <summary>Was the last instruction one on SSE or AVX registers?</summary>
    public bool RanVectors { get; private set; }

    /// <summary>Runs the context's instruction.</summary>
    /// <param name="bytes">Its bytes.</param>
    public Step Run(ReadOnlySpan<byte> bytes)
    {
        NativePlan plan = Plan(bytes);
        return plan.Answer switch
        {
            FeatureAnswer.NotAllowed => Step.Unknown,
            FeatureAnswer.Absent => _context.Raise(GuestFault.Ud),
            _ => Run(plan, bytes),
        };
    }

    /// <summary>Runs a further instruction, one that KVM's emulator did not fail at: between vector instructions that saves
    /// exits.</summary>
    /// <param name="bytes">Its bytes.</param>
    /// <param name="maySetMemory">If false, stores from general registers are left to KVM: they may go to a page table, and KVM
    /// must see those.</param>
    /// <returns><see cref="Step.Unknown"/> if KVM should execute it.</returns>
    public Step RunAhead(ReadOnlySpan<byte> bytes, bool maySetMemory)
    {
        NativePlan plan = Plan(bytes);
        bool isFit = plan.Answer == FeatureAnswer.Present
            && (plan.Units & (NativeUnits.X87 | NativeUnits.Mmx)) == 0
            && (plan.Units != NativeUnits.None || !plan.WritesMemory || maySetMemory);
        return isFit ? Run(plan, bytes) : Step.Unknown;
    }

    public void Dispose() => _entry?.Dispose();

    private Step Run(NativePlan plan, ReadOnlySpan<byte> bytes)
    {
        RanVectors = (plan.Units & (NativeUnits.Sse | NativeUnits.Vex | NativeUnits.Evex)) != 0;
        Step step = CheckUnits(plan);
        NativeState* state = _entry!.State;
        var operand = new NativeMemoryOperand(_context, plan, state);
        step = step == Step.Next ? operand.Load() : step;
        if (step != Step.Next)
        {
            return step;
        }

        LoadGeneral(plan, state, operand.Address);
        state->Code = plan.Code;
        if (plan.Units == NativeUnits.None)
        {
            state->Components = 0;
            _entry.Run();
            step = operand.Store();
        }
        else
        {
            step = RunWithVectors(plan, state, bytes, ref operand);
        }

        if (step == Step.Next)
        {
            StoreGeneral(plan, state);
        }

        return step;
    }

    private Step RunWithVectors(
        NativePlan plan, NativeState* state, ReadOnlySpan<byte> bytes, ref NativeMemoryOperand operand)
    {
        Span<byte> live = _context.Cpu.LoadXsave();
        var control = new FloatingPointControl(SseControl.Read(live));
        LoadImage(live, state, control.ForRun);
        _entry!.Run();

        Span<byte> image = state->Image;
        control.Note(SseControl.Read(image));
        if (control.NeedsSecondRun)
        {
            // A second run, only to find out whether a result is tiny: registers and operand are loaded again before and after it.
            NativeState first = *state;
            Step again = operand.Load();
            LoadGeneral(plan, state, operand.Address);
            LoadImage(live, state, control.ForSecondRun);
            _entry.Run();
            control.NoteSecond(SseControl.Read(image));
            *state = first;
            if (again != Step.Next)
            {
                return again;
            }
        }

        if (control.Faults)
        {
            BinaryPrimitives.WriteUInt32LittleEndian(live[XsaveLayout.MxcsrOffset..], control.AfterFault);
            live[XsaveLayout.HeaderOffset] |= 1 << XsaveLayout.Sse;
            _context.MarkXsaveDirty();
            bool isDelivered = (_context.Cpu.Sregs.Cr4 & Bits.Cr4OsXmmExcpt) != 0;
            return _context.Raise(isDelivered ? GuestFault.Xm : GuestFault.Ud);
        }

        Step step = operand.Store();
        if (step != Step.Next)
        {
            return step;
        }

        BinaryPrimitives.WriteUInt32LittleEndian(image[XsaveLayout.MxcsrOffset..], control.After(SseControl.Read(image)));
        if (plan.IsX87)
        {
            RepairPointers(plan, state, bytes);
        }

        StoreImage(live, state);
        return Step.Next;
    }

    /// <summary>Are the registers enabled, and is no x87 exception pending?</summary>
    private Step CheckUnits(NativePlan plan)
    {
        IAssistCpu cpu = _context.Cpu;
        byte vector = VectorState.Usable;
        foreach (NativeUnits unit in (ReadOnlySpan<NativeUnits>)
            [NativeUnits.Evex, NativeUnits.Vex, NativeUnits.Sse, NativeUnits.Mmx, NativeUnits.X87])
        {
            if ((plan.Units & unit) != 0 && vector == VectorState.Usable)
            {
                vector = unit switch
                {
                    NativeUnits.Evex => VectorState.EvexFault(cpu),
                    NativeUnits.Vex => VectorState.VexFault(cpu),
                    NativeUnits.Sse => VectorState.SseFault(cpu),
                    NativeUnits.Mmx => VectorState.MmxFault(cpu),
                    _ => VectorState.X87Fault(cpu),
                };
            }
        }

        if (vector != VectorState.Usable)
        {
            return _context.Raise(vector);
        }

        return plan.Waits && X87Control.IsPending(cpu.LoadXsave()) ? _context.Raise(GuestFault.Mf) : Step.Next;
    }

    private void LoadGeneral(NativePlan plan, NativeState* state, nint operand)
    {
        ref KvmRegs regs = ref _context.Cpu.Regs;
        for (int i = 0; i < GuestRegisters.Count; i++)
        {
            state->General[i] = GuestRegisters.At(ref regs, i);
        }

        if (plan.Pointer >= 0)
        {
            state->General[plan.Pointer] = (ulong)operand;
        }

        if (plan.StackReplacement >= 0)
        {
            state->General[plan.StackReplacement] = regs.Rsp;
        }

        // Bit 1 is always set; no TF, AC, DF or IOPL of the guest's.
        state->Flags = (regs.Rflags & Bits.StatusFlags) | 2;
    }

    private void StoreGeneral(NativePlan plan, NativeState* state)
    {
        ref KvmRegs regs = ref _context.Cpu.Regs;
        for (int i = 0; i < GuestRegisters.Count; i++)
        {
            if (i != GuestRegisters.Rsp && i != plan.Pointer && i != plan.StackReplacement)
            {
                GuestRegisters.At(ref regs, i) = state->General[i];
            }
        }

        if (plan.StackReplacement >= 0)
        {
            regs.Rsp = state->General[plan.StackReplacement];
        }

        _context.SetStatusFlags(Bits.StatusFlags, state->Flags & Bits.StatusFlags);
    }

    private static void LoadImage(ReadOnlySpan<byte> live, NativeState* state, uint mxcsr)
    {
        Span<byte> image = state->Image;
        int length = Math.Min(image.Length, live.Length);
        live[..length].CopyTo(image);
        ulong inUse = BinaryPrimitives.ReadUInt64LittleEndian(live[XsaveLayout.HeaderOffset..]);
        Span<byte> header = image.Slice(XsaveLayout.HeaderOffset, 64);
        header.Clear();
        BinaryPrimitives.WriteUInt64LittleEndian(header, inUse & NativeEntry.Components);
        BinaryPrimitives.WriteUInt32LittleEndian(image[XsaveLayout.MxcsrOffset..], mxcsr);
        state->Components = NativeEntry.Components;
    }

    private void StoreImage(Span<byte> live, NativeState* state)
    {
        Span<byte> image = state->Image;
        ulong before = BinaryPrimitives.ReadUInt64LittleEndian(live[XsaveLayout.HeaderOffset..]);
        ulong after = BinaryPrimitives.ReadUInt64LittleEndian(image[XsaveLayout.HeaderOffset..]);
        ulong inUse = (before & ~NativeEntry.Components) | after;
        if (SseControl.Read(image) != XsaveLayout.MxcsrInitial)
        {
            inUse |= 1 << XsaveLayout.Sse;
        }

        // Stores and comparisons do not change the registers: then the ioctl that would write them back is left out. Only the
        // parts that the entry routine moves are compared.
        bool isChanged = inUse != before;
        isChanged |= CopyChanged(image[..XsaveLayout.MxcsrMaskOffset], live);
        isChanged |= CopyChanged(
            image[XsaveLayout.X87RegistersOffset..(XsaveLayout.XmmOffset + 256)], live[XsaveLayout.X87RegistersOffset..]);
        for (int i = 2; i < 8; i++)
        {
            XsaveLayout.Component component = XsaveLayout.Host[i];
            if ((NativeEntry.Components >> i & 1) != 0 && component.Offset + component.Size <= live.Length)
            {
                isChanged |= CopyChanged(image.Slice(component.Offset, component.Size), live[component.Offset..]);
            }
        }

        if (isChanged)
        {
            BinaryPrimitives.WriteUInt64LittleEndian(live[XsaveLayout.HeaderOffset..], inUse);
            _context.MarkXsaveDirty();
        }
    }

    private static bool CopyChanged(ReadOnlySpan<byte> source, Span<byte> target)
    {
        if (source.SequenceEqual(target[..source.Length]))
        {
            return false;
        }

        source.CopyTo(target);
        return true;
    }

    /// <summary>Replaces FIP, FDP and FOP, which name the instruction that ran here, by those of the guest's instruction (Intel
    /// SDM volume 1, 8.1.8 and 8.1.9).</summary>
    private void RepairPointers(NativePlan plan, NativeState* state, ReadOnlySpan<byte> bytes)
    {
        Span<byte> image = state->Image;
        ulong pointer = BinaryPrimitives.ReadUInt64LittleEndian(image[8..]);
        if (pointer != (ulong)plan.Code)
        {
            return;
        }

        BinaryPrimitives.WriteUInt64LittleEndian(image[8..], _context.Cpu.Regs.Rip);
        if (BinaryPrimitives.ReadUInt16LittleEndian(image[6..]) != 0)
        {
            // The opcode's lower three bits and ModRM, behind whatever prefixes there are.
            int at = bytes.IndexOfAnyInRange((byte)0xD8, (byte)0xDF);
            int opcode = at >= 0 && at + 1 < bytes.Length ? ((bytes[at] & 7) << 8) | bytes[at + 1] : 0;
            BinaryPrimitives.WriteUInt16LittleEndian(image[6..], (ushort)opcode);
        }

        if (plan.Pointer >= 0)
        {
            BinaryPrimitives.WriteUInt64LittleEndian(image[16..], _context.EffectiveOffset());
        }
    }

    private NativePlan Plan(ReadOnlySpan<byte> bytes)
    {
        Span<byte> key = stackalloc byte[16];
        key.Clear();
        bytes.CopyTo(key);
        key[15] = (byte)(bytes.Length | GuestMode.Bitness(in _context.Cpu.Sregs) << 1);
        UInt128 number = BinaryPrimitives.ReadUInt128LittleEndian(key);
        if (_plans.TryGetValue(number, out NativePlan? known))
        {
            return known;
        }

        _entry ??= new NativeEntry(_code);
        if (!_entry.HasRoom || _plans.Count > 4096)
        {
            _entry.Clear();                                           // bounds what the guest can make this allocate
            _plans.Clear();
        }

        NativePlan plan = NativePlan.Make(in _context.Instruction, _encode);
        _plans.Add(number, plan);
        return plan;
    }

    private nint Encode(in Instruction instruction)
    {
        _writer.Length = 0;
        bool isEncoded = _encoder.TryEncode(in instruction, 0, out _, out _);
        return isEncoded ? _entry!.Add(_writer.Bytes) : 0;
    }

    private sealed class Writer : CodeWriter
    {
        private readonly byte[] _bytes = new byte[16];

        public int Length { get; set; }

        public ReadOnlySpan<byte> Bytes => _bytes.AsSpan(0, Length);

        public override void WriteByte(byte value) => _bytes[Length++] = value;
    }
}

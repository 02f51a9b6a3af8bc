using Iced.Intel;
using Vmm.Host;

namespace Vmm.Assist;

/// <summary>Chooses the code that executes a decoded instruction.</summary>
internal sealed class Dispatcher(AssistContext context, CodePages? code) : IDisposable
{
    private readonly XsaveInstructions _xsave = new(context, XsaveLayout.Host);
    private readonly FxsaveInstructions _fxsave = new(context);

    private readonly NativeRunner _native = new(context, code);
    private readonly AccessWindow _window = new(context);

    /// <summary>Executes a further instruction, one that KVM did not fail at, if that saves time.</summary>
    public Step ExecuteAhead(ReadOnlySpan<byte> bytes) => _native.RunAhead(bytes, maySetMemory: false);

    /// <summary>Executes a further instruction between STAC and CLAC, one that KVM did not fail at, if that saves time.</summary>
    public Step ExecuteInWindow(ReadOnlySpan<byte> bytes)
    {
        Step step = _window.Execute();
        return step == Step.Unknown ? _native.RunAhead(bytes, maySetMemory: true) : step;
    }

    /// <summary>STAC was executed.</summary>
    public void OpenWindow() => _window.Open();

    /// <summary>Executes the context's instruction.</summary>
    /// <param name="bytes">The instruction's bytes, no more.</param>
    /// <param name="canRunAhead">Was it one of those that come in long sequences?</param>
    public Step Execute(ReadOnlySpan<byte> bytes, out bool canRunAhead)
    {
        canRunAhead = false;
        Step step = ExecuteByName();
        if (step == Step.Unknown && context.Reason is null)
        {
            step = _native.Run(bytes);
            canRunAhead = step == Step.Next && _native.RanVectors;
        }

        return step;
    }

    public void Dispose() => _native.Dispose();

    private Step ExecuteByName()
    {
        switch (context.Instruction.Mnemonic)
        {
            case Mnemonic.Clac: return SystemInstructions.SetAccess(context, isOpen: false);
            case Mnemonic.Stac: return SystemInstructions.SetAccess(context, isOpen: true);

            case Mnemonic.Popcnt: return IntegerInstructions.Popcnt(context);
            case Mnemonic.Cmpxchg8b: return IntegerInstructions.Cmpxchg8b(context);
            case Mnemonic.Cmpxchg16b: return IntegerInstructions.Cmpxchg16b(context);

            case Mnemonic.Xsave: return _xsave.Save(SaveKind.Xsave, isWide: false);
            case Mnemonic.Xsave64: return _xsave.Save(SaveKind.Xsave, isWide: true);
            case Mnemonic.Xsaveopt: return _xsave.Save(SaveKind.Xsaveopt, isWide: false);
            case Mnemonic.Xsaveopt64: return _xsave.Save(SaveKind.Xsaveopt, isWide: true);
            case Mnemonic.Xsavec: return _xsave.Save(SaveKind.Xsavec, isWide: false);
            case Mnemonic.Xsavec64: return _xsave.Save(SaveKind.Xsavec, isWide: true);
            case Mnemonic.Xsaves: return _xsave.Save(SaveKind.Xsaves, isWide: false);
            case Mnemonic.Xsaves64: return _xsave.Save(SaveKind.Xsaves, isWide: true);
            case Mnemonic.Xrstor: return _xsave.Restore(isSupervisor: false, isWide: false);
            case Mnemonic.Xrstor64: return _xsave.Restore(isSupervisor: false, isWide: true);
            case Mnemonic.Xrstors: return _xsave.Restore(isSupervisor: true, isWide: false);
            case Mnemonic.Xrstors64: return _xsave.Restore(isSupervisor: true, isWide: true);
            case Mnemonic.Fxsave: return _fxsave.Save(isWide: false);
            case Mnemonic.Fxsave64: return _fxsave.Save(isWide: true);
            case Mnemonic.Fxrstor: return _fxsave.Restore(isWide: false);
            case Mnemonic.Fxrstor64: return _fxsave.Restore(isWide: true);

            case Mnemonic.Ldmxcsr: return SseControl.Load(context, isVex: false);
            case Mnemonic.Vldmxcsr: return SseControl.Load(context, isVex: true);
            case Mnemonic.Stmxcsr: return SseControl.Store(context, isVex: false);
            case Mnemonic.Vstmxcsr: return SseControl.Store(context, isVex: true);
            case Mnemonic.Wait: return X87Control.Wait(context);

            case Mnemonic.Int3: return context.Trap(GuestFault.Bp);
            case Mnemonic.Int1: return context.Trap(GuestFault.Db);
            case Mnemonic.Into: return SoftwareInterrupt.Overflow(context);
            case Mnemonic.Int: return SoftwareInterrupt.Deliver(context, context.Instruction.Immediate8);
            case Mnemonic.Ud0:
            case Mnemonic.Ud1:
            case Mnemonic.Ud2: return context.Raise(GuestFault.Ud);

            case Mnemonic.Rdfsbase: return SystemInstructions.ReadBase(context, isGs: false);
            case Mnemonic.Rdgsbase: return SystemInstructions.ReadBase(context, isGs: true);
            case Mnemonic.Wrfsbase: return SystemInstructions.WriteBase(context, isGs: false);
            case Mnemonic.Wrgsbase: return SystemInstructions.WriteBase(context, isGs: true);
            case Mnemonic.Swapgs: return SystemInstructions.Swapgs(context);
            case Mnemonic.Xgetbv: return SystemInstructions.Xgetbv(context);
            case Mnemonic.Xsetbv: return SystemInstructions.Xsetbv(context);
            case Mnemonic.Rdpkru: return SystemInstructions.Rdpkru(context);
            case Mnemonic.Wrpkru: return SystemInstructions.Wrpkru(context);
            case Mnemonic.Rdtscp: return SystemInstructions.Rdtscp(context);
            case Mnemonic.Rdpid: return SystemInstructions.Rdpid(context);
            case Mnemonic.Invpcid: return SystemInstructions.Invpcid(context);
            case Mnemonic.Verr: return Descriptor.Verify(context, isWrite: false);
            case Mnemonic.Verw: return Descriptor.Verify(context, isWrite: true);
            case Mnemonic.Lar: return Descriptor.Load(context, isLimit: false);
            case Mnemonic.Lsl: return Descriptor.Load(context, isLimit: true);

            case Mnemonic.Clflush:
            case Mnemonic.Clflushopt:
            case Mnemonic.Clwb: return SystemInstructions.FlushLine(context);

            // Hints, and orderings that an exit to user space gives anyway.
            case Mnemonic.Endbr32:
            case Mnemonic.Endbr64:
            case Mnemonic.Nop:
            case Mnemonic.Reservednop:
            case Mnemonic.Pause:
            case Mnemonic.Cldemote:
            case Mnemonic.Serialize:
            case Mnemonic.Lfence:
            case Mnemonic.Sfence:
            case Mnemonic.Mfence:
            case Mnemonic.Prefetch:
            case Mnemonic.Prefetchw:
            case Mnemonic.Prefetchwt1:
            case Mnemonic.Prefetchnta:
            case Mnemonic.Prefetcht0:
            case Mnemonic.Prefetcht1:
            case Mnemonic.Prefetcht2:
            case Mnemonic.Prefetchit0:
            case Mnemonic.Prefetchit1: return Step.Next;

            // MWAIT may return at any time (Intel SDM volume 3, 8.10.4): here it returns at once.
            case Mnemonic.Monitor:
            case Mnemonic.Mwait: return context.Cpl == 0 ? Step.Next : context.Raise(GuestFault.Ud);
            case Mnemonic.Umonitor: return Step.Next;
            case Mnemonic.Tpause:
            case Mnemonic.Umwait:
                context.SetStatusFlags(Bits.StatusFlags, 0);
                return Step.Next;

            default: return Step.Unknown;
        }
    }
}

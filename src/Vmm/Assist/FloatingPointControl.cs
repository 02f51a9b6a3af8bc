namespace Vmm.Assist;

/// <summary>Finds out, from runs with all SIMD floating-point exceptions masked, what would have happened with the
/// guest's MXCSR (Intel SDM volume 1, 11.5).</summary>
internal struct FloatingPointControl
{
    private const uint Flags = 0x3F, PreComputation = 0b111, Underflow = 1 << 4, FlushToZero = 1 << 15;
    private const int MaskShift = 7;

    private readonly uint _guest;
    private uint _raised;
    private bool _isTiny;

    public FloatingPointControl(uint mxcsr) => _guest = mxcsr;

    /// <summary>For the run: nothing can trap and the flags begin empty. With underflow unmasked, flush-to-zero has
    /// no effect, so it is off.</summary>
    public readonly uint ForRun =>
        (_guest & ~Flags & ~(IsUnderflowUnmasked ? FlushToZero : 0)) | (Flags << MaskShift);

    /// <summary>Masked underflow is reported for tiny results that are inexact, unmasked for all tiny ones. With
    /// flush-to-zero the processor reports every tiny one.</summary>
    public readonly uint ForSecondRun => ForRun | FlushToZero;

    public readonly bool NeedsSecondRun => IsUnderflowUnmasked && (_raised & Unmasked & PreComputation) == 0;

    public readonly bool Faults => (_raised & Unmasked) != 0 || _isTiny;

    /// <summary>MXCSR for the handler. An unmasked exception before the computation keeps those after it from being
    /// looked for. One bit can differ from the processor's: precision beside an unmasked overflow or underflow, where
    /// it judges the result with an unlimited exponent.</summary>
    public readonly uint AfterFault
    {
        get
        {
            uint raised = (_raised & Unmasked & PreComputation) != 0 ? _raised & PreComputation : _raised;
            return _guest | raised | (_isTiny ? Underflow : 0);
        }
    }

    private readonly uint Unmasked => ~(_guest >> MaskShift) & Flags;

    private readonly bool IsUnderflowUnmasked => (Unmasked & Underflow) != 0;

    public void Note(uint mxcsr) => _raised = mxcsr & Flags;

    public void NoteSecond(uint mxcsr) => _isTiny = (mxcsr & Underflow) != 0;

    /// <summary>MXCSR when nothing trapped.</summary>
    public readonly uint After(uint mxcsr) => _guest | (mxcsr & Flags);
}

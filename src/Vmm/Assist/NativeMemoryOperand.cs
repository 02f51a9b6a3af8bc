using System.Buffers.Binary;
using System.Numerics;

namespace Vmm.Assist;

/// <summary>The memory operand of an instruction that runs natively: its checks, its copy in
/// <see cref="NativeState.Scratch"/>, and its way back.</summary>
internal unsafe ref struct NativeMemoryOperand
{
    private const int CacheLine = 64;

    private readonly AssistContext _context;
    private readonly NativePlan _plan;
    private readonly NativeState* _state;
    private ulong _linear;
    private ulong _active;

    public NativeMemoryOperand(AssistContext context, NativePlan plan, NativeState* state)
    {
        _context = context;
        _plan = plan;
        _state = state;
        Address = (nint)(&state->Scratch);
    }

    /// <summary>The operand's address for the native instruction.</summary>
    public nint Address { get; private set; }

    private readonly Span<byte> Scratch => ((Span<byte>)_state->Scratch)[.._plan.Size];

    private readonly bool IsDirect => Address != (nint)(&_state->Scratch);

    private readonly Access Access => _plan.WritesMemory ? Access.Write : Access.Read;

    /// <summary>Fetches the operand, or makes sure that it can be written.</summary>
    public Step Load()
    {
        if (_plan.Size == 0)
        {
            return Step.Next;
        }

        Step step = _context.Address(_plan.Size, out _linear);
        if (step != Step.Next)
        {
            return step;
        }

        if ((_linear & (uint)(_plan.Alignment - 1)) != 0 && !MayIgnoreAlignment())
        {
            return _context.Raise(GuestFault.Gp());
        }

        if (_plan.IsLocked && (_linear & (CacheLine - 1)) + (uint)_plan.Size <= CacheLine)
        {
            // An access within a cache line is within a page, and as aligned here as it is in the guest.
            step = _context.From(_context.Memory.Locate(_linear, _plan.Size, Access, out byte* pointer));
            Address = (nint)pointer;
            return step;
        }

        if (_plan.Mask != ElementMask.None)
        {
            return LoadElements();
        }

        return _context.From(_plan.ReadsMemory
            ? _context.Memory.Read(_linear, Scratch, Access)
            : _context.Memory.Probe(_linear, _plan.Size, Access));
    }

    /// <summary>Brings what the instruction wrote back to the guest.</summary>
    public readonly Step Store()
    {
        if (!_plan.WritesMemory || IsDirect)
        {
            return Step.Next;
        }

        return _plan.Mask == ElementMask.None
            ? _context.From(_context.Memory.Write(_linear, Scratch))
            : EachRun(isStore: true);
    }

    /// <summary>Elements that are masked out are not accessed, so they cannot fault either.</summary>
    private Step LoadElements()
    {
        if (!_plan.WritesMemory)
        {
            // Usually all of it can be read, and masked elements do not matter.
            AccessResult result = _context.Memory.Read(_linear, Scratch);
            if (result == AccessResult.Ok || _plan.MixesElements)
            {
                return _context.From(result);
            }
        }

        _active = ActiveElements();
        Scratch.Clear();
        return EachRun(isStore: false);
    }

    /// <summary>Iterates over the active elements, adjacent ones together.</summary>
    private readonly Step EachRun(bool isStore)
    {
        int size = _plan.ElementSize;
        Step step = Step.Next;
        for (ulong left = _active; left != 0 && step == Step.Next;)
        {
            int first = BitOperations.TrailingZeroCount(left);
            int count = BitOperations.TrailingZeroCount(~(left >> first));
            ulong linear = _linear + (uint)(first * size);
            Span<byte> part = Scratch.Slice(first * size, count * size);
            step = _context.From(isStore
                ? _context.Memory.Write(linear, part)
                : _plan.ReadsMemory
                    ? _context.Memory.Read(linear, part, Access)
                    : _context.Memory.Probe(linear, part.Length, Access));
            left = first + count >= 64 ? 0 : left & (ulong.MaxValue << (first + count));
        }

        return step;
    }

    private readonly ulong ActiveElements()
    {
        ReadOnlySpan<byte> image = _context.Cpu.LoadXsave();
        int elements = _plan.Size / _plan.ElementSize;
        ulong all = Ones(elements);
        if (_plan.Mask == ElementMask.Vector)
        {
            return SignBits(image, elements);
        }

        ulong mask = Opmask(image) & Ones(_plan.Lanes);
        if (_plan.Mask == ElementMask.OpmaskCount)
        {
            return Ones(BitOperations.PopCount(mask & all));
        }

        // A broadcast operand has fewer elements than the operation: one is read if any lane wants it.
        ulong active = 0;
        for (int lane = 0; lane < _plan.Lanes; lane += elements)
        {
            active |= mask >> lane & all;
        }

        return active;
    }

    private readonly ulong SignBits(ReadOnlySpan<byte> image, int elements)
    {
        ulong active = 0;
        for (int i = 0; i < elements; i++)
        {
            int top = ((i + 1) * _plan.ElementSize) - 1;
            int register = 16 * _plan.MaskRegister;
            byte value = top < 16
                ? IsInUse(image, XsaveLayout.Sse) ? image[XsaveLayout.XmmOffset + register + top] : (byte)0
                : IsInUse(image, XsaveLayout.Avx)
                    ? image[XsaveLayout.Host[XsaveLayout.Avx].Offset + register + top - 16]
                    : (byte)0;
            active |= (ulong)(value >> 7) << i;
        }

        return active;
    }

    private readonly ulong Opmask(ReadOnlySpan<byte> image)
    {
        const int Component = 5;
        return IsInUse(image, Component)
            ? BinaryPrimitives.ReadUInt64LittleEndian(
                image[(XsaveLayout.Host[Component].Offset + (8 * _plan.MaskRegister))..])
            : 0;
    }

    private static bool IsInUse(ReadOnlySpan<byte> image, int component) =>
        (image[XsaveLayout.HeaderOffset] >> component & 1) != 0;

    private static ulong Ones(int count) => count >= 64 ? ulong.MaxValue : (1UL << count) - 1;

    /// <summary>AMD's MXCSR.MM lifts the alignment of operands of legacy SSE, but not of aligned moves (AMD APM
    /// volume 1, 4.2.2).</summary>
    private readonly bool MayIgnoreAlignment() =>
        !_plan.IsAlignedMove && (SseControl.Read(_context.Cpu.LoadXsave()) & (1 << 17)) != 0;
}

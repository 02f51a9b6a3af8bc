using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;

namespace Vmm.Assist;

/// <summary>The registers that <see cref="NativeEntry"/> loads before and stores after the one instruction. In
/// native memory at a multiple of 64 bytes, since the processor's XSAVE area is a part of it.</summary>
[StructLayout(LayoutKind.Explicit, Size = Length)]
internal unsafe struct NativeState
{
    /// <summary>Longest memory operand of an instruction that is run so (FSAVE: 108 bytes).</summary>
    public const int ScratchLength = 128;

    public const int FlagsOffset = 128, CodeOffset = 136, ComponentsOffset = 144, HostMxcsrOffset = 152,
        HostFcwOffset = 156, ScratchOffset = 192, ImageOffset = ScratchOffset + ScratchLength;

    /// <summary>Components 0 to 7 of the standard format end well before this.</summary>
    public const int ImageLength = 4096 - ImageOffset;

    private const int Length = 4096;

    /// <summary>General registers by their number; RSP's place is not used.</summary>
    [FieldOffset(0)]
    public Registers General;

    /// <summary>Status flags before and after.</summary>
    [FieldOffset(FlagsOffset)]
    public ulong Flags;

    /// <summary>Address of the instruction, which a RET follows.</summary>
    [FieldOffset(CodeOffset)]
    public nint Code;

    /// <summary>Components of <see cref="Image"/> to load and store; 0 leaves vector and x87 registers alone.</summary>
    [FieldOffset(ComponentsOffset)]
    public ulong Components;

    [FieldOffset(HostMxcsrOffset)]
    public uint HostMxcsr;

    [FieldOffset(HostFcwOffset)]
    public ushort HostFcw;

    /// <summary>The copy of the memory operand.</summary>
    [FieldOffset(ScratchOffset)]
    public ScratchBytes Scratch;

    /// <summary>XSAVE area, standard format.</summary>
    [FieldOffset(ImageOffset)]
    public ImageBytes Image;

    [InlineArray(16)]
    internal struct Registers
    {
        private ulong _first;
    }

    [InlineArray(ScratchLength)]
    internal struct ScratchBytes
    {
        private byte _first;
    }

    [InlineArray(ImageLength)]
    internal struct ImageBytes
    {
        private byte _first;
    }
}

using System.Buffers.Binary;
using System.Runtime.InteropServices;
using Iced.Intel;
using Vmm.Assist;
using Vmm.Host;
using static Iced.Intel.AssemblerRegisters;

namespace Vmm.Tests.Assist;

/// <summary>Runs instructions on this processor in user mode, to compare the assist with it.</summary>
internal sealed unsafe class Processor : IDisposable
{
    public const int MemoryLength = 4 * 4096;

    private readonly NativeEntry _entry = new();
    private readonly byte* _memory = (byte*)NativeMemory.AlignedAlloc(MemoryLength, 4096);

    public Processor() => Memory.Clear();

    public static uint MxcsrMask { get; } = ReadMxcsrMask();

    /// <summary>Operands go here; at an address that is a multiple of 4096.</summary>
    public Span<byte> Memory => new(_memory, MemoryLength);

    public ulong MemoryAddress => (ulong)_memory;

    public ref NativeState State => ref *_entry.State;

    public Span<byte> Image => _entry.State->Image;

    /// <summary>Runs one instruction as it is, with the registers of <see cref="State"/>.</summary>
    public void Run(ReadOnlySpan<byte> instruction)
    {
        if (!_entry.HasRoom)
        {
            _entry.Clear();
        }

        _entry.State->Code = _entry.Add(instruction);
        _entry.State->Components = NativeEntry.Components;
        _entry.Run();
    }

    public static byte[] Assemble(Action<Assembler> write)
    {
        var assembler = new Assembler(64);
        write(assembler);
        using var bytes = new MemoryStream();
        assembler.Assemble(new StreamCodeWriter(bytes), FakeCpu.CodeAddress);
        return bytes.ToArray();
    }

    public void Dispose()
    {
        _entry.Dispose();
        NativeMemory.AlignedFree(_memory);
    }

    private static uint ReadMxcsrMask()
    {
        using var processor = new Processor();
        processor.Image.Clear();
        BinaryPrimitives.WriteUInt32LittleEndian(processor.Image[XsaveLayout.MxcsrOffset..], XsaveLayout.MxcsrInitial);
        processor.State.General[GuestRegisters.Rbx] = processor.MemoryAddress;
        processor.State.Flags = 2;
        processor.Run(Assemble(a => a.fxsave64(__[rbx])));
        return BinaryPrimitives.ReadUInt32LittleEndian(processor.Memory[XsaveLayout.MxcsrMaskOffset..]);
    }
}

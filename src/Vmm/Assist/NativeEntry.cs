using System.Runtime.InteropServices;
using System.Runtime.Intrinsics.X86;
using Iced.Intel;
using Vmm.Host;
using static Iced.Intel.AssemblerRegisters;

namespace Vmm.Assist;

/// <summary>Code memory with an entry routine that loads a guest's registers, calls one instruction and stores the registers
/// again. Not for two threads at a time.</summary>
/// <remarks>
/// A signal may arrive at any point: RSP is always this thread's own stack and nothing lies below it, so a handler
/// finds what it expects, and the kernel saves and restores the vector registers around it.
/// </remarks>
internal sealed unsafe class NativeEntry : IDisposable
{
    /// <summary>Longest instruction, a RET, and INT3 up to a power of two.</summary>
    private const int SlotLength = 32, MaxInstructionLength = 15, FirstSlot = 1024;

    /// <summary>Bytes of its code memory.</summary>
    public const int Length = 64 * 1024;

    private const byte Ret = 0xC3, Int3 = 0xCC;

    private readonly CodePages _code;
    private int _next = FirstSlot;

    /// <param name="code"><see cref="Length"/> bytes, owned from now on; null to make them now.</param>
    public NativeEntry(CodePages? code = null)
    {
        _code = code ?? new CodePages(Length);
        State = (NativeState*)NativeMemory.AlignedAlloc((nuint)sizeof(NativeState), 4096);
        *State = default;
        using var bytes = new MemoryStream();
        Assemble().Assemble(new StreamCodeWriter(bytes), (ulong)_code.Executable);
        if (bytes.Length > FirstSlot)
        {
            throw new InvalidOperationException("the entry code has outgrown its place");
        }

        // SAFETY: the mapping is Length bytes long.
        bytes.GetBuffer().AsSpan(0, (int)bytes.Length).CopyTo(new Span<byte>((void*)_code.Writable, FirstSlot));
    }

    /// <summary>Components of the XSAVE area that are loaded and stored: those up to AVX-512 that this process may
    /// use.</summary>
    public static ulong Components { get; } = XsaveLayout.Host.UserMask & 0b1110_0111;

    /// <summary>In and out. Valid until <see cref="Dispose"/>.</summary>
    public NativeState* State { get; }

    /// <summary>Is there space for one more instruction?</summary>
    public bool HasRoom => _next + SlotLength <= Length;

    /// <summary>Removes all instructions.</summary>
    public void Clear() => _next = FirstSlot;

    /// <summary>Installs an instruction.</summary>
    /// <param name="instruction">It must not touch RSP or the stack, nor go elsewhere.</param>
    /// <returns>What goes into <see cref="NativeState.Code"/>.</returns>
    public nint Add(ReadOnlySpan<byte> instruction)
    {
        ArgumentOutOfRangeException.ThrowIfGreaterThan(instruction.Length, MaxInstructionLength);
        if (!HasRoom)
        {
            throw new InvalidOperationException("no room for another instruction");
        }

        // SAFETY: the slot lies within the mapping, as HasRoom says.
        var slot = new Span<byte>((byte*)_code.Writable + _next, SlotLength);
        slot.Fill(Int3);
        instruction.CopyTo(slot);
        slot[instruction.Length] = Ret;
        nint code = _code.Executable + _next;
        _next += SlotLength;

        // Code that was written through another mapping needs a serializing instruction before it runs (Intel SDM
        // volume 3, 8.1.3); CPUID is one.
        _ = X86Base.CpuId(0, 0);
        return code;
    }

    /// <summary>Runs what <see cref="NativeState.Code"/> says.</summary>
    public void Run()
    {
        // SAFETY: the code follows the System V ABI; it saves what a callee must save, MXCSR's and the x87 control
        // word included, and touches the state alone.
        ((delegate* unmanaged<NativeState*, void>)_code.Executable)(State);
    }

    public void Dispose()
    {
        _code.Dispose();
        NativeMemory.AlignedFree(State);
    }

    private static Assembler Assemble()
    {
        AssemblerRegister64[] registers =
            [rax, rcx, rdx, rbx, rsp, rbp, rsi, rdi, r8, r9, r10, r11, r12, r13, r14, r15];
        AssemblerRegister64[] kept = [rbx, rbp, r12, r13, r14, r15];
        var a = new Assembler(64);
        Label loadGeneral = a.CreateLabel(), storeFlags = a.CreateLabel();

        foreach (AssemblerRegister64 register in kept)
        {
            a.push(register);
        }

        // Stack from here on: the code's address, then the state's.
        a.push(rdi);
        a.push(__qword_ptr[rdi + NativeState.CodeOffset]);
        a.mov(rax, __[rdi + NativeState.ComponentsOffset]);
        a.test(rax, rax);
        a.je(loadGeneral);
        a.mov(rdx, rax);
        a.shr(rdx, 32);
        a.stmxcsr(__[rdi + NativeState.HostMxcsrOffset]);
        a.fnstcw(__[rdi + NativeState.HostFcwOffset]);
        a.xrstor64(__[rdi + NativeState.ImageOffset]);
        a.Label(ref loadGeneral);
        a.push(__qword_ptr[rdi + NativeState.FlagsOffset]);
        a.popfq();
        for (int i = 0; i < registers.Length; i++)
        {
            if (i is not GuestRegisters.Rsp and not GuestRegisters.Rdi)
            {
                a.mov(registers[i], __[rdi + (8 * i)]);
            }
        }

        a.mov(rdi, __[rdi + (8 * GuestRegisters.Rdi)]);
        a.call(__qword_ptr[rsp]);

        // No instruction up to PUSHFQ changes flags. The code's address is no longer needed; its stack slot takes RDI.
        a.mov(__[rsp], rdi);
        a.mov(rdi, __[rsp + 8]);
        for (int i = 0; i < registers.Length; i++)
        {
            if (i is not GuestRegisters.Rsp and not GuestRegisters.Rdi)
            {
                a.mov(__[rdi + (8 * i)], registers[i]);
            }
        }

        a.pop(rax);
        a.mov(__[rdi + (8 * GuestRegisters.Rdi)], rax);
        a.pushfq();
        a.pop(__qword_ptr[rdi + NativeState.FlagsOffset]);
        a.mov(rax, __[rdi + NativeState.ComponentsOffset]);
        a.test(rax, rax);
        a.je(storeFlags);
        a.mov(rdx, rax);
        a.shr(rdx, 32);
        a.xsave64(__[rdi + NativeState.ImageOffset]);
        a.fninit();
        a.fldcw(__[rdi + NativeState.HostFcwOffset]);
        a.ldmxcsr(__[rdi + NativeState.HostMxcsrOffset]);
        if (Avx.IsSupported)
        {
            a.vzeroupper();
        }

        a.Label(ref storeFlags);
        a.pop(rdi);
        for (int i = kept.Length - 1; i >= 0; i--)
        {
            a.pop(kept[i]);
        }

        a.ret();
        return a;
    }
}

using Iced.Intel;
using Vmm.Host;
using Vmm.Machines;
using static Iced.Intel.AssemblerRegisters;

namespace Vmm.Assist;

/// <summary>Machine code for operations that C# does not have.</summary>
internal sealed unsafe class NativeRoutines : IDisposable
{
    private readonly CodePages _code = new(Environment.SystemPageSize);

    private NativeRoutines()
    {
        var a = new Assembler(64);

        // int (ulong* address, ulong* comparand, ulong low, ulong high), System V ABI.
        a.push(rbx);
        a.mov(rbx, rdx);
        a.mov(rax, __[rsi]);
        a.mov(rdx, __[rsi + 8]);
        a.@lock.cmpxchg16b(__[rdi]);
        a.mov(__[rsi], rax);
        a.mov(__[rsi + 8], rdx);
        a.sete(al);
        a.movzx(eax, al);
        a.pop(rbx);
        a.ret();

        using var bytes = new MemoryStream();
        a.Assemble(new StreamCodeWriter(bytes), (ulong)_code.Executable);
        Install(bytes);
    }

    /// <summary>Made when first needed; most hosts never need it.</summary>
    public static NativeRoutines Shared => Holder.Instance;

    /// <summary>LOCK CMPXCHG16B.</summary>
    /// <param name="address">Aligned to 16 bytes.</param>
    /// <param name="comparand">Two words, low first; afterwards what was in memory.</param>
    /// <param name="low">New low word.</param>
    /// <param name="high">New high word.</param>
    /// <returns>Was memory equal, and so exchanged?</returns>
    public bool CompareExchange16(ulong* address, ulong* comparand, ulong low, ulong high)
    {
        // SAFETY: the routine touches the two operands alone. It is a dozen instructions without a wait in them, so
        // the garbage collector need not know of it.
        var routine = (delegate* unmanaged[SuppressGCTransition]<ulong*, ulong*, ulong, ulong, int>)_code.Executable;
        int equal = routine(address, comparand, low, high);
        return equal != 0;
    }

    public void Dispose() => _code.Dispose();

    // SAFETY: the code was just assembled for this page and is far shorter than it.
    private void Install(MemoryStream bytes) =>
        bytes.GetBuffer().AsSpan(0, (int)bytes.Length).CopyTo(new Span<byte>((void*)_code.Writable, _code.Length));

    private static class Holder
    {
        public static readonly NativeRoutines Instance = new();
    }
}

using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;

namespace Vmm.Kvm.Abi;

/// <summary><c>struct kvm_segment</c> of <c>&lt;asm/kvm.h&gt;</c> (x86): a segment register with its hidden part.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct KvmSegment
{
    public ulong Base;
    public uint Limit;
    public ushort Selector;
    public byte Type;
    public byte Present, Dpl, Db, S, L, G, Avl;
    public byte Unusable;
    public byte Padding;
}

/// <summary><c>struct kvm_dtable</c> of <c>&lt;asm/kvm.h&gt;</c> (x86): GDTR or IDTR.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct KvmDtable
{
    public ulong Base;
    public ushort Limit;
    public PaddingWords Padding;

    [InlineArray(3)]
    internal struct PaddingWords
    {
        private ushort _first;
    }
}

/// <summary><c>struct kvm_sregs</c> of <c>&lt;asm/kvm.h&gt;</c> (x86).</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct KvmSregs
{
    public KvmSegment Cs, Ds, Es, Fs, Gs, Ss;
    public KvmSegment Tr, Ldt;
    public KvmDtable Gdt, Idt;
    public ulong Cr0, Cr2, Cr3, Cr4, Cr8;
    public ulong Efer;
    public ulong ApicBase;
    public InterruptWords InterruptBitmap;

    /// <summary>KVM_NR_INTERRUPTS bits.</summary>
    [InlineArray(256 / 64)]
    internal struct InterruptWords
    {
        private ulong _first;
    }
}

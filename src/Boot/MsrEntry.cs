using System.Runtime.InteropServices;

namespace Vmm.Boot;

/// <summary>A model-specific register and its value: struct kvm_msr_entry of &lt;asm/kvm.h&gt;, 16 bytes.</summary>
[StructLayout(LayoutKind.Sequential)]
public struct MsrEntry(uint index, ulong data)
{
    public uint Index = index;
    public uint Reserved;
    public ulong Data = data;
}

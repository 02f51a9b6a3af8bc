namespace Vmm.Boot;

/// <summary>A segment register with its hidden part, field by field as in struct kvm_segment.</summary>
/// <param name="Base">First linear address.</param>
/// <param name="Limit">Last offset in bytes, whatever <paramref name="G"/> says.</param>
/// <param name="Selector">Offset of the descriptor in the GDT.</param>
/// <param name="Type">Descriptor type (Intel SDM volume 3, 3.4.5.1 and 3.5).</param>
/// <param name="Db">1 for 32-bit segments.</param>
/// <param name="S">1 for code and data, 0 for system segments.</param>
/// <param name="L">1 for 64-bit code.</param>
/// <param name="G">1 if the descriptor's limit counts pages.</param>
public readonly record struct EntrySegment(
    ulong Base, uint Limit, ushort Selector, byte Type, byte Db, byte S, byte L, byte G)
{
    /// <summary>Privilege level: always the kernel's.</summary>
    public byte Dpl { get; } = 0;

    /// <summary>Always 1.</summary>
    public byte Present { get; } = 1;
}

/// <summary>How the first virtual CPU has to look at the guest's first instruction: to be copied into kvm_regs and
/// kvm_sregs as it is. Registers not named here are 0; there is no IDT (base and limit 0) and no LDT (unusable).</summary>
public sealed record EntryState
{
    public required ulong Rip { get; init; }
    public ulong Rsp { get; init; }
    public ulong Rax { get; init; }
    public ulong Rbx { get; init; }
    public ulong Rsi { get; init; }

    /// <summary>Only bit 1, which is always set: interrupts are off.</summary>
    public ulong Rflags { get; } = 1 << 1;

    public required ulong Cr0 { get; init; }
    public ulong Cr3 { get; init; }
    public ulong Cr4 { get; init; }
    public ulong Efer { get; init; }

    public ulong GdtBase { get; } = Layout.Gdt;

    /// <summary>Last offset in the GDT, in bytes.</summary>
    public required ushort GdtLimit { get; init; }

    /// <summary>CS.</summary>
    public required EntrySegment Code { get; init; }

    /// <summary>DS, ES, FS, GS and SS.</summary>
    public required EntrySegment Data { get; init; }

    /// <summary>TR.</summary>
    public required EntrySegment Tss { get; init; }
}

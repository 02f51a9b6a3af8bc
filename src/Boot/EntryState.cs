using Vmm.Devices.Memory;

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

/// <summary>The registers of the first vCPU at the guest's first instruction, copied into kvm_regs and kvm_sregs. Registers not
/// named here are 0; there is no IDT (base and limit 0) and no LDT (unusable).
/// </summary>
public sealed record EntryState
{
    private const ulong CR0_PE = 1 << 0;
    private const ulong CR0_ET = 1 << 4;
    private const ulong CR0_PG = 1UL << 31;
    private const ulong CR4_PAE = 1 << 5;
    private const ulong EFER_LME = 1 << 8;
    private const ulong EFER_LMA = 1 << 10;

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

    /// <summary>64-bit mode as the Linux boot protocol wants it (boot.rst, "64-bit Boot Protocol"): paging on with
    /// memory mapped to itself, flat segments. Writes the page tables and the GDT.</summary>
    internal static EntryState LongMode(GuestMemory memory, GuestAddress entry, ulong rsi) => new()
    {
        Rip = entry.Value,
        Rsp = Layout.BootStack,
        Rsi = rsi,
        Cr0 = CR0_PE | CR0_ET | CR0_PG,
        Cr3 = PageTables.Write(memory),
        Cr4 = CR4_PAE,
        Efer = EFER_LME | EFER_LMA,
        GdtLimit = GlobalDescriptorTable.Write(memory, GlobalDescriptorTable.Code64),
        Code = GlobalDescriptorTable.Code64,
        Data = GlobalDescriptorTable.Data,
        Tss = GlobalDescriptorTable.Tss,
    };

    /// <summary>32-bit protected mode without paging and with flat segments, as PVH (Xen's pvh.pandoc) and multiboot
    /// (0.6.96, 3.2) both want it. Writes the GDT.</summary>
    internal static EntryState ProtectedMode(GuestMemory memory, GuestAddress entry, uint eax, uint ebx) => new()
    {
        Rip = entry.Value,
        Rsp = Layout.BootStack,
        Rax = eax,
        Rbx = ebx,
        Cr0 = CR0_PE | CR0_ET, // ET cannot be cleared
        GdtLimit = GlobalDescriptorTable.Write(memory, GlobalDescriptorTable.Code32),
        Code = GlobalDescriptorTable.Code32,
        Data = GlobalDescriptorTable.Data,
        Tss = GlobalDescriptorTable.Tss,
    };
}

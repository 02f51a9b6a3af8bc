using Vmm.Devices.Memory;

namespace Vmm.Boot.Acpi;

/// <summary>The machine that the ACPI tables describe.</summary>
public sealed record AcpiOptions
{
    /// <summary>Number of vCPUs; vCPU n has APIC id n. 1 to 4096.</summary>
    public required int Cpus { get; init; }

    /// <summary>The PCI bus; null when there is none.</summary>
    public AcpiPci? Pci { get; init; }

    /// <summary>The devices on the virtio-mmio transport.</summary>
    public IReadOnlyList<AcpiVirtioMmio> VirtioMmio { get; init; } = [];

    /// <summary>Is there a 16550A at 0x3f8 with IRQ 4?</summary>
    public bool Serial { get; init; } = true;

    /// <summary>Is there a CMOS clock at 0x70 (without an interrupt; century in register 0x32)?</summary>
    public bool Clock { get; init; } = true;

    /// <summary>Is there QEMU's pvpanic port at 0x505?</summary>
    public bool Pvpanic { get; init; } = true;

    /// <summary>Are there QEMU's fw_cfg ports at 0x510?</summary>
    public bool FwCfg { get; init; } = true;

    /// <summary>Where the VM generation ID is (<see cref="Vmm.Devices.Acpi.GenerationId"/>); null for none.</summary>
    public GuestAddress? Generation { get; init; }

    /// <summary>Shall the guest look for a keyboard controller? If not, a kernel does not probe it; the controller's reset line
    /// works in any case.</summary>
    public bool Keyboard { get; init; }
}

/// <summary>A PCI host bridge with bus 0.</summary>
public sealed record AcpiPci
{
    /// <summary>Configuration space by memory (ECAM) of bus 0.</summary>
    public required GuestAddress Ecam { get; init; }

    /// <summary>Buses that ECAM and configuration ports reach, from 0: 1 to 256.</summary>
    public int Buses { get; init; } = 1;

    /// <summary>Where BARs below 4 GiB may lie: start and bytes (0 for none).</summary>
    public (ulong Start, ulong Length) Window32 { get; init; }

    /// <summary>Where BARs above 4 GiB may lie: start and bytes (0 for none).</summary>
    public (ulong Start, ulong Length) Window64 { get; init; }

    /// <summary>Where I/O BARs may lie: first port and count (0 for none).</summary>
    public (int Start, int Count) PortWindow { get; init; }

    /// <summary>INTx routing.</summary>
    public IReadOnlyList<PciInterrupt> Interrupts { get; init; } = [];
}

/// <summary>A device on the virtio-mmio transport, so that kernels with ACPI find it without a command line.</summary>
/// <param name="Base">First register, below 4 GiB.</param>
/// <param name="Length">Bytes of registers.</param>
/// <param name="Gsi">Its interrupt, active high.</param>
/// <param name="Level">Level triggered; edge (what an irqfd makes) otherwise.</param>
public readonly record struct AcpiVirtioMmio(uint Base, uint Length, int Gsi, bool Level = false);

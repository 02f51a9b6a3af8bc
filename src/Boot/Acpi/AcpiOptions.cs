using Vmm.Devices.Memory;

namespace Vmm.Boot.Acpi;

/// <summary>The machine that the ACPI tables describe, besides what every machine has: a 16550A at 0x3f8 with IRQ 4, a CMOS clock at
/// 0x70 (without an interrupt), and QEMU's pvpanic and fw_cfg. The keyboard controller is left out, so that no kernel probes it.</summary>
public sealed record AcpiOptions
{
    /// <summary>Number of vCPUs; vCPU n has APIC id n. 1 to 4096.</summary>
    public required int Cpus { get; init; }

    /// <summary>The PCI bus; null when there is none.</summary>
    public AcpiPci? Pci { get; init; }

    /// <summary>The devices on the virtio-mmio transport.</summary>
    public IReadOnlyList<AcpiVirtioMmio> VirtioMmio { get; init; } = [];

    /// <summary>Where the VM generation ID is (<see cref="Vmm.Devices.Acpi.GenerationId"/>); null for none.</summary>
    public GuestAddress? Generation { get; init; }
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

    /// <summary>INTx routing.</summary>
    public IReadOnlyList<PciInterrupt> Interrupts { get; init; } = [];
}

/// <summary>A device on the virtio-mmio transport, so that kernels with ACPI find it without a command line.</summary>
/// <param name="Base">First register, below 4 GiB.</param>
/// <param name="Length">Bytes of registers.</param>
/// <param name="Gsi">Its interrupt, active high and edge triggered, as an irqfd makes it.</param>
public readonly record struct AcpiVirtioMmio(uint Base, uint Length, int Gsi);

using Vmm.Boot.Acpi;
using Vmm.Devices.Memory;

namespace Vmm.Boot.Tests.Acpi;

/// <summary>The machines that the tests describe, by name.</summary>
internal static class Machines
{
    public static AcpiOptions Named(string name) => name switch
    {
        "pci" => new AcpiOptions { Cpus = 2, Pci = Pci(256), Generation = new GuestAddress(0xd_f100) },
        "high generation" => new AcpiOptions { Cpus = 1, Generation = new GuestAddress(0x12_3456_7898) },
        "high ecam" => new AcpiOptions { Cpus = 1, Pci = Pci(1) with { Ecam = new GuestAddress(0x80_0000_0000) } },
        "mmio" => new AcpiOptions
        {
            Cpus = 1,
            VirtioMmio = [.. Enumerable.Range(0, 20).Select(i =>
                new AcpiVirtioMmio(0xd100_0000 + ((uint)i * 0x1000), 0x200, 5 + (i % 19)))],
        },
        _ => new AcpiOptions { Cpus = int.Parse(name), Pci = Pci(1) },
    };

    private static AcpiPci Pci(int buses) => new()
    {
        Ecam = new GuestAddress(0xe000_0000),
        Buses = buses,
        Window32 = (0xc000_0000, 0x1000_0000),
        Window64 = (0x2_0000_0000, 0x10_0000_0000),
        Interrupts = [.. Enumerable.Range(0, 128).Select(i => new PciInterrupt(i / 4, i % 4, 16 + ((i / 4) + i) % 8))],
    };
}

using Vmm.Devices.Memory;

namespace Vmm.Boot;

/// <summary>From an opened kernel to a guest that can start.</summary>
public static class KernelLoader
{
    // Less cannot hold what Layout puts below 1 MiB and a kernel; --mem starts at 32 MiB.
    private const ulong LeastMemory = 0x20_0000;

    /// <summary>Writes kernel, initramfs, command line and tables into guest memory.</summary>
    /// <param name="memory">Memory that nobody has written to yet, all zeros, starting at address 0 (ACPI and MP
    /// tables may be there already: nothing is written to 0x90000-0xfffff).</param>
    /// <param name="kernel">The kernel; may be disposed afterwards.</param>
    /// <param name="request">What else to load, and how to start.</param>
    /// <exception cref="BootException">It does not fit, cannot be started so, or a file cannot be read.</exception>
    public static LoadedGuest Load(GuestMemory memory, KernelImage kernel, BootRequest request)
    {
        ArgumentOutOfRangeException.ThrowIfNotEqual(memory.Regions[0].Start.Value, 0UL);
        if (memory.Regions[0].Length < LeastMemory)
        {
            throw new BootException($"memory: {memory.Size} bytes are too few for any kernel: give more --mem");
        }

        if (kernel.Kind == KernelKind.Elf32)
        {
            throw new BootException($"kernel {kernel.Name}: is a 32-bit ELF file: give a kernel for x86-64");
        }

        return LinuxLoader.Load(memory, kernel, request);
    }
}

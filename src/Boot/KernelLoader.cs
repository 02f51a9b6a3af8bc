using System.Diagnostics;
using Vmm.Devices.Memory;

namespace Vmm.Boot;

/// <summary>Loads an opened kernel into guest memory and prepares the entry state.</summary>
public static class KernelLoader
{
    // Less cannot hold what Layout puts below 1 MiB and a kernel; --mem starts at 32 MiB.
    private const ulong LeastMemory = 0x20_0000;

    /// <summary>Writes kernel, initramfs, command line and tables into guest memory.</summary>
    /// <param name="memory">Memory that is all zeros, starting at address 0 (ACPI and MP
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

        long begin = Stopwatch.GetTimestamp();
        LoadedGuest guest = ProtocolFor(kernel, request.Protocol) switch
        {
            EntryProtocol.Linux64 => LinuxLoader.Load(memory, kernel, request),
            EntryProtocol.Pvh => PvhLoader.Load(memory, kernel, request),
            EntryProtocol.Multiboot => MultibootLoader.Load(memory, kernel, request),
            _ => throw new ArgumentOutOfRangeException(nameof(request)),
        };
        return guest with { Loading = Stopwatch.GetElapsedTime(begin) };
    }

    /// <summary>How the kernel is started.</summary>
    /// <param name="asked">What the user asked for.</param>
    /// <returns>Never Auto.</returns>
    public static EntryProtocol ProtocolFor(KernelImage kernel, EntryProtocol asked)
    {
        if (asked != EntryProtocol.Auto)
        {
            return asked;
        }

        if (kernel.Multiboot is not null)
        {
            return EntryProtocol.Multiboot;
        }

        // For a Linux with both entries the one in 64-bit mode is used.
        return kernel.Elf is { } elf && elf.Notes is { IsLinux: false, PvhEntry: not null }
            ? EntryProtocol.Pvh
            : EntryProtocol.Linux64;
    }
}

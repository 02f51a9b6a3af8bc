using Vmm.Devices.Memory;

namespace Vmm.Boot;

/// <summary>How the guest's first instruction is reached.</summary>
public enum EntryProtocol
{
    /// <summary>As suits the image: multiboot if it has that header, the 64-bit entry for Linux, PVH for other ELF
    /// files with that note.</summary>
    Auto,

    /// <summary>The Linux 64-bit boot protocol (Documentation/arch/x86/boot.rst).</summary>
    Linux64,

    /// <summary>The 32-bit entry that an ELF note names (Xen's pvh.pandoc).</summary>
    Pvh,

    /// <summary>Multiboot 0.6.96.</summary>
    Multiboot,
}

/// <summary>What the user and the machine want booted, besides the kernel itself.</summary>
public sealed record BootRequest
{
    /// <summary>The whole command line: see <see cref="Boot.CommandLine.Compose"/>.</summary>
    public string CommandLine { get; init; } = Boot.CommandLine.Default;

    /// <summary>Paths of initramfs files, which Linux gets as one; a multiboot kernel gets each as a module.</summary>
    public IReadOnlyList<string> Initrds { get; init; } = [];

    public EntryProtocol Protocol { get; init; }

    /// <summary>Where the ACPI tables' RSDP is, if there are any: saves the guest the search.</summary>
    public GuestAddress? AcpiRsdp { get; init; }

    /// <summary>More ranges of the memory map that are not to be used as memory; without overlap.</summary>
    public IReadOnlyList<E820Range> Reserved { get; init; } = [];

    /// <summary>Random bytes for the guest's random generator, 32 or so; empty for none. Linux since 6.0 takes them at
    /// the 64-bit entry and need not gather its own, which costs a slow host seconds.</summary>
    public ReadOnlyMemory<byte> RngSeed { get; init; }

    /// <summary>The vmlinux that was inside the bzImage, to be started in its place; null lets the guest unpack
    /// itself.</summary>
    public UnpackedKernel? Unpacked { get; init; }
}

/// <summary>A vmlinux that the VMM has unpacked from a bzImage, and relocated if it was to be.</summary>
/// <param name="Elf">The ELF file. It belongs to the caller and is only read during the load.</param>
/// <param name="PhysicalDisplacement">How many bytes above (or, wrapping, below) its linked physical addresses it is
/// to be loaded; a multiple of the kernel's alignment.</param>
/// <param name="IsRandomized">Has KASLR been done? Linux then randomizes its other memory areas as well.</param>
/// <param name="Loaded">Called once with the guest's memory when the segments are in it, for relocations that are
/// best applied there; or null.</param>
public sealed record UnpackedKernel(
    ImageSource Elf, ulong PhysicalDisplacement = 0, bool IsRandomized = false, Action<GuestMemory>? Loaded = null);

/// <summary>What <see cref="KernelLoader.Load"/> did.</summary>
/// <param name="Entry">How to set the first virtual CPU.</param>
/// <param name="Protocol">How it is entered; never Auto.</param>
/// <param name="Kernel">Where the kernel lies, with all it needs to start.</param>
/// <param name="Initrd">Where the initramfs lies, or all modules; its length is 0 if there is none.</param>
public sealed record LoadedGuest(
    EntryState Entry,
    EntryProtocol Protocol,
    (GuestAddress Start, ulong Length) Kernel,
    (GuestAddress Start, ulong Length) Initrd);

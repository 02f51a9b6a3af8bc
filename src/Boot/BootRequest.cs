using Vmm.Boot.Unpack;
using Vmm.Devices.Memory;

namespace Vmm.Boot;

/// <summary>The protocol by which the kernel is started.</summary>
public enum EntryProtocol
{
    /// <summary>Chosen by the image: multiboot if it has that header, the 64-bit entry for Linux, PVH for other ELF
    /// files with that note.</summary>
    Auto,

    /// <summary>The Linux 64-bit boot protocol (Documentation/arch/x86/boot.rst).</summary>
    Linux64,

    /// <summary>The 32-bit entry that an ELF note names (Xen's pvh.pandoc).</summary>
    Pvh,

    /// <summary>Multiboot 0.6.96.</summary>
    Multiboot,
}

/// <summary>What is booted, besides the kernel itself.</summary>
public sealed record BootRequest
{
    /// <summary>The whole command line: see <see cref="Boot.CommandLine.Compose"/>.</summary>
    public string CommandLine { get; init; } = Boot.CommandLine.Default;

    /// <summary>The initramfs, which Linux gets as one file; a multiboot kernel gets each of its files as a module. It belongs
    /// to the caller.</summary>
    public InitialRamDisk Initrd { get; init; } = InitialRamDisk.None;

    public EntryProtocol Protocol { get; init; }

    /// <summary>Where the ACPI tables' RSDP is, if there are any: saves the guest the search.</summary>
    public GuestAddress? AcpiRsdp { get; init; }

    /// <summary>More ranges of the memory map that are not to be used as memory; without overlap.</summary>
    public IReadOnlyList<E820Range> Reserved { get; init; } = [];

    /// <summary>Random bytes for the guest's random generator, 32 or so; empty for none. Linux since 6.0 takes them at the
    /// 64-bit entry and does not have to gather its own, which takes seconds on a slow host.</summary>
    public ReadOnlyMemory<byte> RngSeed { get; init; }

    /// <summary>Unpack a bzImage, so that the guest need not (--no-unpack says false).</summary>
    public bool Unpack { get; init; } = true;

    /// <summary>Randomize the addresses of a kernel that vmm unpacks (--no-kaslr says false). The word nokaslr on the
    /// command line turns it off too.</summary>
    public bool Kaslr { get; init; } = true;

    /// <summary>Where random numbers come from, 64 bits at a time; the system if null. For tests.</summary>
    internal Func<ulong>? Random { get; init; }

    /// <summary>Where compression libraries come from; the system if null. For tests.</summary>
    internal SystemLibraries? Libraries { get; init; }
}

/// <summary>What <see cref="KernelLoader.Load"/> did.</summary>
/// <param name="Entry">How to set the first virtual CPU.</param>
/// <param name="Protocol">How it is entered; never Auto.</param>
/// <param name="Kernel">Where the kernel lies, with all it needs to start.</param>
/// <param name="Initrd">Where the initramfs lies, or all modules; its length is 0 if there is none.</param>
public sealed record LoadedGuest(
    EntryState Entry,
    EntryProtocol Protocol,
    (GuestAddress Start, ulong Length) Kernel,
    (GuestAddress Start, ulong Length) Initrd)
{
    /// <summary>What vmm did instead of a bzImage's own unpacker; null if it was not asked to, or it is no bzImage. An obstacle
    /// in it is reported to the user.</summary>
    public UnpackReport? Unpacked { get; init; }

    /// <summary>How long all of loading took: unpacking, relocating, initramfs and tables.</summary>
    public TimeSpan Loading { get; init; }
}

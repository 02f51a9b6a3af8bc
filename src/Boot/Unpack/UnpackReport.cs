using Vmm.Boot.Kaslr;

namespace Vmm.Boot.Unpack;

/// <summary>What vmm did instead of a bzImage's own unpacker.</summary>
/// <param name="Compression">How the payload is compressed.</param>
/// <param name="UnpackedSize">Bytes that it declares to unpack to; 0 if unknown.</param>
/// <param name="Obstacle">Why the kernel is left to unpack itself, for one line to the user; null if vmm did it.</param>
/// <param name="Kaslr">The result of address-space randomization.</param>
/// <param name="PhysicalAddress">Where the kernel's first byte lies in guest memory; 0 if there is an obstacle.</param>
/// <param name="VirtualOffset">Bytes added to all virtual addresses of the kernel, as /proc/kallsyms shows them to
/// root.</param>
public sealed record UnpackReport(
    Compression Compression, uint UnpackedSize, string? Obstacle, KaslrOutcome Kaslr, ulong PhysicalAddress, ulong VirtualOffset)
{
    /// <summary>How long reading and unpacking the payload took.</summary>
    public TimeSpan Unpacking { get; init; }

    /// <summary>How long it took to move the segments to their addresses and to relocate them.</summary>
    public TimeSpan Relocating { get; init; }
}

using System.Diagnostics;
using Vmm.Boot.Kaslr;
using Vmm.Devices.Memory;

namespace Vmm.Boot.Unpack;

/// <summary>How a bzImage is to be unpacked.</summary>
/// <param name="Limit">First guest-physical address that the kernel may not touch, in the first region of memory.</param>
/// <param name="Randomize">Is KASLR wanted?</param>
/// <param name="IsCoupled">See <see cref="KernelBase.Choose"/>.</param>
/// <param name="Random">64 random bits at a time; the system's if null.</param>
/// <param name="Libraries">Where libraries come from; the system if null.</param>
internal sealed record UnpackRequest(
    ulong Limit, bool Randomize, bool IsCoupled = false, Func<ulong>? Random = null, SystemLibraries? Libraries = null);

/// <summary>Does the work of a bzImage's own unpacker (extract_kernel of arch/x86/boot/compressed/misc.c): unpacks the
/// vmlinux straight into guest memory, moves its segments into place and relocates it.</summary>
internal static class KernelUnpacker
{
    /// <summary>Unpacks a bzImage.</summary>
    /// <param name="memory">Guest memory that is all zeros from 1 MiB to the limit.</param>
    /// <param name="kernel">A bzImage.</param>
    /// <param name="request">The destination and options.</param>
    /// <param name="report">What was done.</param>
    /// <returns>The kernel in memory, or null if the report names an obstacle: then nothing was written.</returns>
    /// <exception cref="BootException">The payload or what is in it is damaged, or does not fit.</exception>
    public static ElfKernel? TryLoad(
        GuestMemory memory, KernelImage kernel, UnpackRequest request, out UnpackReport report)
    {
        long begin = Stopwatch.GetTimestamp();
        BzImage image = kernel.BzImage!;
        string? wrong = PackedPayload.TryRead(
            kernel.Source, image.PayloadOffset, image.PayloadLength, request.Libraries ?? SystemLibraries.Default,
            out PackedPayload? payload);
        if (wrong is not null)
        {
            throw Bad(kernel, wrong);
        }

        using (payload)
        {
            report = new UnpackReport(
                payload!.Compression, payload.UnpackedSize, payload.Obstacle, KaslrOutcome.LeftToKernel, 0, 0);
            if (payload.Obstacle is not null)
            {
                return null;
            }

            ulong need = Math.Max(image.InitSize, payload.UnpackedSize);
            bool randomize = request.Randomize && image.IsRelocatable;
            KernelBase chosen = randomize
                ? KernelBase.Choose(
                    image.PrefAddress, need, request.Limit, image.KernelAlignment, request.IsCoupled,
                    request.Random ?? KernelBase.SystemRandom)
                : new KernelBase(image.PrefAddress, 0);

            var window = new UnpackWindow(memory, kernel, chosen.Physical, payload.UnpackedSize, request.Limit);
            if (payload.Unpack(window.Unpacked) is string damaged)
            {
                throw Bad(kernel, damaged);
            }

            payload.Dispose(); // some MiB that are no longer needed
            long unpackedAt = Stopwatch.GetTimestamp();
            ElfKernel unpacked = window.Settle(randomize ? chosen : null, need, out bool isRandomized);
            report = report with
            {
                Kaslr = isRandomized ? KaslrOutcome.Randomized
                    : request.Randomize ? KaslrOutcome.NoRelocations : KaslrOutcome.TurnedOff,
                PhysicalAddress = unpacked.Placed.Start.Value,
                VirtualOffset = isRandomized ? chosen.VirtualOffset : 0,
                Unpacking = Stopwatch.GetElapsedTime(begin, unpackedAt),
                Relocating = Stopwatch.GetElapsedTime(unpackedAt),
            };
            return unpacked;
        }
    }

    internal static BootException Bad(KernelImage kernel, string wrong) => new($"kernel {kernel.Name}: {wrong}");
}

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

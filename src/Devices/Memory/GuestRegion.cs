namespace Vmm.Devices.Memory;

/// <summary>One stretch of guest-physical memory and where it lies in this process.</summary>
/// <param name="Start">First guest-physical address.</param>
/// <param name="Length">Bytes; at least 1. Start + Length does not pass 2^64.</param>
/// <param name="Host">Where the first byte lies in this process. The mapping belongs to whoever made it and must
/// outlive the <see cref="GuestMemory"/>.</param>
public readonly record struct GuestRegion(GuestAddress Start, ulong Length, nint Host)
{
    /// <summary>First address behind the region.</summary>
    public GuestAddress End => Start + Length;
}

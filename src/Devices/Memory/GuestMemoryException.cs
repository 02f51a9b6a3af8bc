namespace Vmm.Devices.Memory;

/// <summary>The VMM itself (never the guest) asked for guest memory that is not there, for instance while it loads
/// a kernel. Devices use the Try methods, for which a bad address is an ordinary answer.</summary>
public sealed class GuestMemoryException(GuestAddress address, ulong length)
    : Exception($"no guest memory for {length} bytes at {address}")
{
    public GuestAddress Address { get; } = address;

    /// <summary>How many bytes were asked for.</summary>
    public ulong Length { get; } = length;
}

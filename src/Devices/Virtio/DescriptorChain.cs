namespace Vmm.Devices.Virtio;

/// <summary>One buffer that the driver made available: how its descriptors lie in the array of
/// <see cref="IoVector"/> that <see cref="Virtqueue.TryPop"/> filled, and what the ring needs to know when it is
/// given back.</summary>
/// <param name="Id">Split ring: index of the head descriptor. Packed ring: the driver's buffer id.</param>
/// <param name="Descriptors">Slots of the ring that it takes up; at least 1.</param>
/// <param name="Readable">How many vectors, from the first, the device may read.</param>
/// <param name="Writable">How many vectors behind those the device may write.</param>
/// <param name="ReadableBytes">Up to 2^32 together with <paramref name="WritableBytes"/>.</param>
/// <param name="WritableBytes">See <paramref name="ReadableBytes"/>.</param>
public readonly record struct DescriptorChain(
    ushort Id, ushort Descriptors, ushort Readable, ushort Writable, ulong ReadableBytes, ulong WritableBytes)
{
    /// <summary>All vectors. Descriptors of length zero have none.</summary>
    public int Count => Readable + Writable;
}

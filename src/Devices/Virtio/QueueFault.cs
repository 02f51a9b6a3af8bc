namespace Vmm.Devices.Virtio;

/// <summary>What a driver can do wrong with a ring, as messages for the log. Each one leads to DEVICE_NEEDS_RESET.</summary>
internal static class QueueFault
{
    public const string AvailIndexJumped = "avail.idx is further ahead than the queue is long";
    public const string HeadOutOfRange = "an avail entry names a descriptor beyond the queue";
    public const string NextOutOfRange = "a descriptor's next lies beyond its table";
    public const string TooLong = "a descriptor chain loops, or is longer than the queue";
    public const string TooManyInFlight = "more buffers are in flight than the queue has descriptors";
    public const string ReadableAfterWritable = "a device-readable descriptor follows a device-writable one";
    public const string OutsideMemory = "a descriptor points outside the guest's memory";
    public const string TooManyBytes = "a descriptor chain is longer than 2^32 bytes";
    public const string IndirectNotNegotiated = "an indirect descriptor without VIRTIO_F_INDIRECT_DESC";
    public const string IndirectNested = "an indirect table holds an indirect descriptor";
    public const string IndirectWithNext = "an indirect descriptor has a next one";
    public const string IndirectLength = "an indirect table's length is zero or no multiple of 16";
    public const string IndirectOutsideMemory = "an indirect table lies outside the guest's memory";
    public const string BadSize = "the queue's size is zero, too large, or (split ring) no power of two";
    public const string BadAlignment = "a ring is not aligned as virtio 1.2 section 2.7 or 2.8 requires";
    public const string RingOutsideMemory = "a ring lies outside the guest's memory";
    public const string RingsOverlap = "the rings of the queue overlap";
}

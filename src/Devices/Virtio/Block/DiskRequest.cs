namespace Vmm.Devices.Virtio.Block;

/// <summary>What a disk is asked to do.</summary>
public enum DiskOperation
{
    Read,
    Write,

    /// <summary>Everything that was completed before becomes durable.</summary>
    Flush,

    /// <summary>The bytes are not needed any more; what they read as is undefined.</summary>
    Discard,

    /// <summary>The bytes read as zero.</summary>
    WriteZeroes,
}

/// <summary>One request to a disk.</summary>
/// <param name="Operation">What to do.</param>
/// <param name="Tag">Comes back in the completion. A request may come as several parts with one tag; each is completed
/// on its own.</param>
/// <param name="Offset">Bytes from the start of the disk; a multiple of 512. Zero for a flush.</param>
/// <param name="Length">Bytes, a multiple of 512, up to 2^32 (a backend goes on after a short transfer). Offset +
/// Length lies within the disk.</param>
/// <param name="Vectors">Address of an array of <see cref="IoVector"/> (<c>struct iovec</c>) that stays in place until
/// completion and adds up to Length; zero where no data moves. The guest may change the memory that it points at
/// meanwhile.</param>
/// <param name="VectorCount">Elements of the array.</param>
/// <param name="Options">See there.</param>
public readonly record struct DiskRequest(
    DiskOperation Operation, int Tag, ulong Offset, ulong Length, nint Vectors, int VectorCount, DiskOptions Options);

/// <summary>Details of a disk request.</summary>
[Flags]
public enum DiskOptions
{
    None = 0,

    /// <summary>What this request changes is durable when it completes (RWF_DSYNC, or fdatasync behind it).</summary>
    Durable = 1,

    /// <summary>WriteZeroes may free the space.</summary>
    Unmap = 2,
}

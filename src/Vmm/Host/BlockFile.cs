namespace Vmm.Host;

/// <summary>A file with a disk image in it: asynchronous operations for data, and blocking calls for the few bytes of an image
/// format's own tables.</summary>
internal abstract class BlockFile : IDisposable
{
    /// <summary>For messages.</summary>
    public abstract string Path { get; }

    /// <summary>Bytes now.</summary>
    public abstract ulong Length { get; }

    public abstract bool IsReadOnly { get; }

    /// <summary>Bytes that ranges to allocate or to punch must be multiples of: a block device's sectors.</summary>
    public virtual uint AllocationUnit => 1;

    /// <summary>cache=unsafe: nothing is ever made durable.</summary>
    public bool IgnoresFlush { get; init; }

    /// <summary>Number of fdatasync calls; for statistics.</summary>
    public long Syncs { get; protected set; }

    /// <summary>Writes that were durable when they ended (RWF_DSYNC); for statistics.</summary>
    public long DurableWrites { get; protected set; }

    /// <summary>Registers an owner of operations, once, before its first.</summary>
    public abstract void AddOwner(IFileIoOwner owner);

    /// <summary>Undoes <see cref="AddOwner"/>: the owner is closed.</summary>
    public virtual void RemoveOwner(IFileIoOwner owner)
    {
    }

    /// <summary>Takes an operation; it begins with <see cref="Submit"/> and is not finished within this call.</summary>
    public abstract void Start(FileIo io);

    public abstract void Submit();

    /// <summary>Waits until all operations are finished; for the end, when the loop has stopped.</summary>
    public abstract void Drain();

    /// <summary>Reads all; what lies past the file's end reads as zero.</summary>
    /// <returns>False: an I/O error.</returns>
    public abstract bool TryRead(ulong offset, Span<byte> data);

    /// <inheritdoc cref="TryRead"/>
    public abstract bool TryWrite(ulong offset, ReadOnlySpan<byte> data);

    /// <summary>Makes all that was written durable. Blocks.</summary>
    public abstract bool TryFlush();

    public abstract bool TrySetLength(ulong length);

    /// <summary>Makes it longer, durably; the new part reads as zero. A device of the host must have been made longer
    /// before.</summary>
    /// <returns>Null, or why it is not possible.</returns>
    public virtual string? Grow(ulong length) =>
        TrySetLength(length) && TryFlush() ? null : "the host could not make the file longer";

    /// <summary>Frees the space of a range, which reads as zero then, where the host can.</summary>
    public virtual void Punch(ulong offset, ulong length)
    {
    }

    public abstract void Dispose();
}

namespace Vmm.Devices.Virtio.Block;

/// <summary>Where a disk's bytes are: a raw file, an image format. Asynchronous; it knows nothing of virtio.</summary>
/// <remarks>All calls come on one thread at a time (the event loop's; <see cref="Attach"/> before it starts). The disk
/// device has checked that requests lie within <see cref="Length"/> and are whole multiples of 512 bytes.</remarks>
public interface IDiskBackend
{
    /// <summary>Bytes; a multiple of 512.</summary>
    ulong Length { get; }

    /// <summary>No request that changes anything is sent then.</summary>
    bool IsReadOnly { get; }

    /// <summary>Are <see cref="DiskOperation.Discard"/> requests understood?</summary>
    bool CanDiscard { get; }

    /// <summary>Are <see cref="DiskOperation.WriteZeroes"/> requests understood?</summary>
    bool CanWriteZeroes { get; }

    /// <summary>Sets the receiver of completions. Called once, first.</summary>
    void Attach(IDiskCompletions completions);

    /// <summary>Takes a request. It may start at once, or wait for <see cref="Submit"/>. The backend never refuses
    /// (the device bounds how many are in flight, see <see cref="BlockOptions.MaxInFlight"/>) and never throws for
    /// what a request asks: errors are completions.</summary>
    void Enqueue(in DiskRequest request);

    /// <summary>Starts everything that was enqueued, in one system call where that is possible.</summary>
    void Submit();
}

/// <summary>Receives the completions of disk requests.</summary>
public interface IDiskCompletions
{
    /// <summary>These requests are done, in any order. Called on the event-loop thread; also from within
    /// <see cref="IDiskBackend.Submit"/>, but never from within <see cref="IDiskBackend.Enqueue"/>. Many at once are
    /// cheaper than one by one.</summary>
    void Completed(ReadOnlySpan<DiskCompletion> completions);
}

/// <summary>How one request ended.</summary>
/// <param name="Tag">The request's.</param>
/// <param name="Result">All of it, or why not.</param>
public readonly record struct DiskCompletion(int Tag, DiskResult Result);

/// <summary>How a disk request ended.</summary>
public enum DiskResult
{
    /// <summary>All bytes were moved.</summary>
    Ok,

    /// <summary>It failed (I/O error, no space); some bytes may have been moved.</summary>
    Error,

    /// <summary>The backend cannot do this.</summary>
    Unsupported,
}

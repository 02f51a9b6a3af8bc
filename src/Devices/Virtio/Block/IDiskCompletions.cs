namespace Vmm.Devices.Virtio;

/// <summary>Who is told that disk requests are done.</summary>
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

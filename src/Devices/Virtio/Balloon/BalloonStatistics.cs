namespace Vmm.Devices.Virtio.Balloon;

/// <summary>What the guest last reported about its memory (virtio 1.2, sections 5.5.6.3 and 5.5.6.4). A value is null where the
/// guest does not report it. The values are not checked: the guest may report anything.</summary>
public sealed record BalloonStatistics
{
    /// <summary>How long ago the guest reported it.</summary>
    public required TimeSpan Age { get; init; }

    /// <summary>Bytes swapped in since the guest started.</summary>
    public ulong? SwappedIn { get; init; }

    /// <summary>Bytes swapped out since the guest started.</summary>
    public ulong? SwappedOut { get; init; }

    /// <summary>Page faults that needed I/O.</summary>
    public ulong? MajorFaults { get; init; }

    /// <summary>Page faults that needed none.</summary>
    public ulong? MinorFaults { get; init; }

    /// <summary>Bytes that nothing uses.</summary>
    public ulong? Free { get; init; }

    /// <summary>Bytes of memory that the guest has.</summary>
    public ulong? Total { get; init; }

    /// <summary>Bytes that programs could get without swapping.</summary>
    public ulong? Available { get; init; }

    /// <summary>Bytes of files that could be dropped quickly.</summary>
    public ulong? Caches { get; init; }
}

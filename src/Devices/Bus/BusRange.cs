namespace Vmm.Devices.Bus;

/// <summary>A stretch of a bus that one device answers to.</summary>
public sealed class BusRange(ulong start, ulong length, IBusDevice device)
{
    private long _accesses;

    public ulong Start { get; } = start;

    /// <summary>Bytes or ports; at least 1.</summary>
    public ulong Length { get; } = length;

    public IBusDevice Device { get; } = device;

    /// <summary>How often the guest came here, for --stats.</summary>
    public long Accesses => Interlocked.Read(ref _accesses);

    internal void CountAccess() => Interlocked.Increment(ref _accesses);
}

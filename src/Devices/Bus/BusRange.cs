namespace Vmm.Devices.Bus;

/// <summary>A range of a bus's addresses that belongs to one device.</summary>
public sealed class BusRange(ulong start, ulong length, IBusDevice device)
{
    private long _accesses;

    public ulong Start { get; } = start;

    /// <summary>Bytes or ports; at least 1.</summary>
    public ulong Length { get; } = length;

    public IBusDevice Device { get; } = device;

    /// <summary>How often the guest accessed the range, for --stats.</summary>
    public long Accesses => Interlocked.Read(ref _accesses);

    internal void CountAccess() => Interlocked.Increment(ref _accesses);
}

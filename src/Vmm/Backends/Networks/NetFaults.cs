namespace Vmm.Backends.Networks;

/// <summary>Faults of a line that a tester asks for; the default is none.</summary>
/// <param name="LossRate">Share of frames that vanish, each way, 0 to 1.</param>
/// <param name="DelayMilliseconds">Each frame comes so much later, each way.</param>
/// <param name="Seed">The same seed loses the same frames.</param>
internal readonly record struct NetFaults(double LossRate, int DelayMilliseconds, int Seed)
{
    public bool Any => LossRate > 0 || DelayMilliseconds > 0;
}

namespace Vmm.Bench.Guests;

/// <summary>Something that runs a guest, batch by batch.</summary>
internal interface IBatches : IDisposable
{
    /// <summary>Runs one batch; the samples are ticks of the guest's time-stamp counter.</summary>
    void Run(Span<uint> samples);
}

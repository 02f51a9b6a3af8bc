namespace Vmm.Devices.Virtio;

/// <summary>Limits the lines that a guest can cause in the log: a few at once, then one a second. The next line says how many
/// were left out.</summary>
/// <param name="inner">Where lines go.</param>
/// <param name="bucket">The limit, for all devices together.</param>
public sealed class RateLimitedLog(IDeviceLog inner, TokenBucket bucket) : IDeviceLog
{
    private readonly Lock _gate = new();
    private long _suppressed;

    /// <summary>Ten lines at once, then one every second.</summary>
    public RateLimitedLog(IDeviceLog inner, TimeProvider time)
        : this(inner, new TokenBucket(time, 1, 10))
    {
    }

    /// <summary>Lines left out since the last line that was written.</summary>
    public long Suppressed => Interlocked.Read(ref _suppressed);

    /// <inheritdoc/>
    public void Warn(string device, string message)
    {
        lock (_gate)
        {
            if (!bucket.TryTake(1))
            {
                _suppressed++;
                return;
            }

            inner.Warn(device, _suppressed == 0 ? message : $"{message} ({_suppressed} messages left out before this)");
            _suppressed = 0;
        }
    }
}

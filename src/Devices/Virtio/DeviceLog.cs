namespace Vmm.Devices.Virtio;

/// <summary>Where devices report what a guest did wrong. A guest can provoke it: implementations limit the rate.</summary>
public interface IDeviceLog
{
    /// <param name="device">The device's name.</param>
    /// <param name="message">One line.</param>
    void Warn(string device, string message);
}

/// <summary>Limits the lines that a guest can cause in the log: ten at once, then one a second. The next line says how many
/// were left out.</summary>
/// <param name="inner">Where lines go.</param>
/// <param name="time">The clock. All devices share the limit.</param>
public sealed class RateLimitedLog(IDeviceLog inner, TimeProvider time) : IDeviceLog
{
    private readonly Lock _gate = new();
    private readonly TokenBucket _bucket = new(time, tokensPerSecond: 1, burst: 10);
    private long _suppressed;

    /// <inheritdoc/>
    public void Warn(string device, string message)
    {
        lock (_gate)
        {
            if (!_bucket.TryTake(1))
            {
                _suppressed++;
                return;
            }

            inner.Warn(device, _suppressed == 0 ? message : $"{message} ({_suppressed} messages left out before this)");
            _suppressed = 0;
        }
    }
}

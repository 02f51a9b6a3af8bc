namespace Vmm.Backends.Disks;

/// <summary>Limits units a second, with a small burst. The balance may become negative, so that a request larger than the burst
/// is not blocked for ever; the next one waits until it is positive again.</summary>
internal sealed class TokenBucket
{
    private readonly double _rate;
    private readonly double _burst;
    private readonly TimeProvider _time;
    private double _tokens;
    private long _filled;

    /// <param name="rate">Units a second, above zero.</param>
    public TokenBucket(double rate, TimeProvider time)
    {
        _rate = rate;
        _burst = Math.Max(1, rate / 10);    // a tenth of a second's worth
        _time = time;
        _tokens = _burst;
        _filled = time.GetTimestamp();
    }

    /// <summary>Time until something may be taken; zero: now.</summary>
    public TimeSpan Delay
    {
        get
        {
            long now = _time.GetTimestamp();
            _tokens = Math.Min(_burst, _tokens + (_time.GetElapsedTime(_filled, now).TotalSeconds * _rate));
            _filled = now;

            // Slightly more, so that rounding does not wake the caller too early again and again.
            return _tokens > 0 ? TimeSpan.Zero : TimeSpan.FromSeconds(-_tokens / _rate) + TimeSpan.FromMicroseconds(10);
        }
    }

    public void Take(double units) => _tokens -= units;
}

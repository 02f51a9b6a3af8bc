namespace Vmm.Devices.Virtio;

/// <summary>Limits a rate: tokens (operations, bytes, log lines) come back evenly, and up to a burst of them are saved
/// up. Not thread-safe: its owner's lock guards it.</summary>
/// <remarks>The only state is the time at which the bucket was, or will be, empty. A request larger than the burst passes when
/// the bucket is full and makes the balance negative, so that it is neither blocked for ever nor free.</remarks>
public sealed class TokenBucket
{
    private readonly TimeProvider _time;
    private readonly double _ticksPerToken;
    private readonly ulong _burst;
    private readonly long _saved;
    private long _emptyAt;

    /// <param name="time">The clock.</param>
    /// <param name="tokensPerSecond">At least 1.</param>
    /// <param name="burst">At least 1.</param>
    public TokenBucket(TimeProvider time, ulong tokensPerSecond, ulong burst)
    {
        ArgumentOutOfRangeException.ThrowIfZero(tokensPerSecond);
        ArgumentOutOfRangeException.ThrowIfZero(burst);
        _time = time;
        _burst = burst;
        _ticksPerToken = (double)time.TimestampFrequency / tokensPerSecond;
        _saved = Ticks(burst) + 1;      // rounded up, where all else is rounded down: a burst in parts fits too
        _emptyAt = time.GetTimestamp() - _saved;
    }

    /// <summary>A bucket that saves up a tenth of a second, or null for a limit of zero: none.</summary>
    public static TokenBucket? Limit(TimeProvider time, ulong tokensPerSecond) =>
        tokensPerSecond == 0 ? null : new TokenBucket(time, tokensPerSecond, Math.Max(1, tokensPerSecond / 10));

    /// <summary>Takes tokens if they are there.</summary>
    public bool TryTake(ulong tokens)
    {
        if (!CanTake(tokens))
        {
            return false;
        }

        Spend(tokens);
        return true;
    }

    /// <summary>Would <see cref="TryTake"/> succeed?</summary>
    public bool CanTake(ulong tokens)
    {
        long now = _time.GetTimestamp();
        _emptyAt = Math.Max(_emptyAt, now - _saved);
        return now - _emptyAt >= Ticks(Math.Min(tokens, _burst));
    }

    /// <summary>Takes tokens, if need be on credit.</summary>
    public void Spend(ulong tokens) => _emptyAt += Ticks(tokens);

    /// <summary>How long until <see cref="TryTake"/> succeeds, at least a tenth of a millisecond (less than any timer
    /// is worth).</summary>
    public TimeSpan WaitFor(ulong tokens)
    {
        long ticks = _emptyAt + Ticks(Math.Min(tokens, _burst)) - _time.GetTimestamp();
        double seconds = (double)ticks / _time.TimestampFrequency;
        return TimeSpan.FromSeconds(Math.Clamp(seconds, 0.0001, 86_400));
    }

    /// <summary>Long enough for any rate: a century at most.</summary>
    private long Ticks(ulong tokens) =>
        (long)Math.Min(tokens * _ticksPerToken, 3_000_000_000.0 * _time.TimestampFrequency / 1000);
}

namespace Vmm.Devices.Virtio.Net;

/// <summary>The rate limit of one direction of a card, in bytes and frames a second; either may be unlimited.</summary>
internal sealed class FrameLimit
{
    private readonly TokenBucket? _bytes;
    private readonly TokenBucket? _frames;

    private FrameLimit(TokenBucket? bytes, TokenBucket? frames)
    {
        _bytes = bytes;
        _frames = frames;
    }

    /// <summary>Null when there is nothing to limit.</summary>
    public static FrameLimit? Of(TimeProvider time, ulong bytesPerSecond, ulong framesPerSecond) =>
        bytesPerSecond == 0 && framesPerSecond == 0
            ? null
            : new FrameLimit(TokenBucket.Limit(time, bytesPerSecond), TokenBucket.Limit(time, framesPerSecond));

    /// <summary>May a frame of so many bytes pass now?</summary>
    public bool CanTake(ulong bytes) => (_bytes?.CanTake(bytes) ?? true) && (_frames?.CanTake(1) ?? true);

    /// <summary>Counts a frame that passed.</summary>
    public void Spend(ulong bytes)
    {
        _bytes?.Spend(bytes);
        _frames?.Spend(1);
    }

    /// <summary>How long until <see cref="CanTake"/> is true.</summary>
    public TimeSpan WaitFor(ulong bytes)
    {
        TimeSpan forBytes = _bytes?.WaitFor(bytes) ?? TimeSpan.Zero;
        TimeSpan forFrames = _frames?.WaitFor(1) ?? TimeSpan.Zero;
        return forBytes > forFrames ? forBytes : forFrames;
    }
}

using Vmm.Devices.Virtio;
using Vmm.Devices.Virtio.Block;
using Vmm.Host;

namespace Vmm.Backends.Disks;

/// <summary>Limits requests and bytes a second (<c>iops=</c>, <c>bw=</c>). Flushes are not limited: they only concern completed
/// requests.</summary>
internal sealed class ThrottledDisk : DiskFilter
{
    private readonly TokenBucket? _requests;
    private readonly TokenBucket? _bytes;
    private readonly Queue<DiskRequest> _waiting = new();
    private readonly ILoopTimer _timer;
    private bool _timerIsSet;

    /// <param name="requestsPerSecond">0 for no limit.</param>
    /// <param name="bytesPerSecond">0 for no limit.</param>
    /// <param name="createTimer">Makes a timer on the event loop.</param>
    public ThrottledDisk(
        DiskNode inner, ulong requestsPerSecond, ulong bytesPerSecond, TimeProvider time,
        Func<Action, ILoopTimer> createTimer)
        : base(inner)
    {
        _requests = TokenBucket.Limit(time, requestsPerSecond);
        _bytes = TokenBucket.Limit(time, bytesPerSecond);
        _timer = createTimer(() =>
        {
            _timerIsSet = false;
            PassWaiting();
            Submit();
        });
    }

    public override void Enqueue(in DiskRequest request)
    {
        if (request.Operation == DiskOperation.Flush)
        {
            Inner.Enqueue(request);
            return;
        }

        _waiting.Enqueue(request);
        PassWaiting();
    }

    public override void Close()
    {
        // These are dropped: the guest has stopped, and was never told that they were done.
        _waiting.Clear();
        Inner.Close();
    }

    public override void Dispose()
    {
        _timer.Dispose();
        base.Dispose();
    }

    private void PassWaiting()
    {
        while (!_timerIsSet && _waiting.TryPeek(out DiskRequest request))
        {
            // Discards and zeroing only change metadata, so their length hardly matters.
            ulong bytes = request.Operation is DiskOperation.Read or DiskOperation.Write ? request.Length : 512;
            if (_requests?.CanTake(1) == false || _bytes?.CanTake(bytes) == false)
            {
                _timerIsSet = true;
                _timer.Set(Max(_requests?.WaitFor(1), _bytes?.WaitFor(bytes)));
                return;
            }

            _requests?.Spend(1);
            _bytes?.Spend(bytes);
            _waiting.Dequeue();
            Inner.Enqueue(request);
        }
    }

    private static TimeSpan Max(TimeSpan? a, TimeSpan? b) =>
        TimeSpan.FromTicks(Math.Max(a?.Ticks ?? 0, b?.Ticks ?? 0));
}

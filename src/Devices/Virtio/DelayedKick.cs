namespace Vmm.Devices.Virtio;

/// <summary>Queues that wait for a rate limit. One timer for a device, made when first needed.</summary>
internal sealed class DelayedKick
{
    private readonly VirtioDevice _device;
    private readonly TimeProvider _time;
    private readonly bool[] _queues;
    private readonly ITimer _timer;
    private long _due = long.MaxValue;      // timestamp at which the timer fires

    public DelayedKick(VirtioDevice device, TimeProvider time, int queues)
    {
        _device = device;
        _time = time;
        _queues = new bool[queues];
        _timer = time.CreateTimer(
            static state => ((DelayedKick)state!).Fire(), this, Timeout.InfiniteTimeSpan, Timeout.InfiniteTimeSpan);
    }

    /// <summary>Called with the device's gate held.</summary>
    public void Add(TimeSpan delay, int queue)
    {
        _queues[queue] = true;
        long due = _time.GetTimestamp() + (long)(delay.TotalSeconds * _time.TimestampFrequency);
        if (due < _due)
        {
            _due = due;

            // Timers count milliseconds; rounded up, or the queue would be served slightly too early and have to wait again.
            _timer.Change(TimeSpan.FromMilliseconds(Math.Ceiling(delay.TotalMilliseconds)), Timeout.InfiniteTimeSpan);
        }
    }

    private void Fire()
    {
        lock (_device.Gate)
        {
            _due = long.MaxValue;
            for (int i = 0; i < _queues.Length; i++)
            {
                if (_queues[i])
                {
                    _queues[i] = false;
                    _device.Configuration.Kick(i);
                }
            }
        }
    }
}

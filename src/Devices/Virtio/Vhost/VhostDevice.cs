using Vmm.Devices.State;

namespace Vmm.Devices.Virtio.Vhost;

/// <summary>A device whose queues are served by another program. This class has the registers that the guest sees, and
/// completes every request with an error when the program is lost.</summary>
/// <param name="name">The name in messages and statistics: <c>virtio-fs0</c>.</param>
/// <param name="deviceId">virtio 1.2, section 5.</param>
/// <param name="features">Device-specific features that may be offered, if the back end has them.</param>
/// <param name="backend">The program.</param>
/// <param name="queueSizes">The largest size of each queue.</param>
public abstract class VhostDevice(
    string name, uint deviceId, ulong features, IVhostBackend backend, params ReadOnlySpan<ushort> queueSizes)
    : VirtioDevice(name, deviceId, features, queueSizes)
{
    // Without RING_PACKED, which few programs have, and RING_RESET, which none has.
    private const ulong Rings =
        VirtioFeatures.IndirectDescriptors | VirtioFeatures.EventIndex | VirtioFeatures.Version1;

    private static readonly TimeSpan BetweenLooks = TimeSpan.FromMilliseconds(1);

    private readonly bool[] _takenBack = new bool[queueSizes.Length];
    private bool _isHeld;

    /// <summary>Has the program ended, or broken the protocol? With the gate held.</summary>
    protected bool IsLost { get; private set; }

    /// <summary>The program.</summary>
    public IVhostBackend Backend { get; } = backend;

    /// <inheritdoc/>
    public override ulong OfferedFeatures => (Backend.Features & (DeviceFeatures | Rings)) | VirtioFeatures.Version1;

    /// <summary>The back end has used buffers of this queue: the driver is interrupted. For transports and vectors that
    /// the back end cannot reach by itself. Any thread.</summary>
    public void OnUsed(int queue)
    {
        lock (Gate)
        {
            if (!IsLost && TryGetQueue(queue, out Virtqueue? used))
            {
                Configuration.Interrupt(used);
            }
        }
    }

    /// <summary>The back end has ended for good and no longer accesses guest memory. Every request, pending or future, is
    /// completed with an error. On the event-loop thread.</summary>
    public void OnLost()
    {
        lock (Gate)
        {
            IsLost = true;
            Lose();
            for (int queue = 0; queue < QueueSizes.Length; queue++)
            {
                Configuration.Kick(queue);
            }
        }
    }

    /// <inheritdoc/>
    protected internal override void Activate() => Backend.Begin(NegotiatedFeatures & Backend.Features);

    /// <inheritdoc/>
    protected internal override void StartQueue(Virtqueue queue)
    {
        _takenBack[queue.Index] = false;
        QueueConfiguration rings = Configuration.RingsOf(queue);
        Backend.StartQueue(new VhostRing(
            queue.Index, (ushort)rings.Size, rings.DescriptorArea, rings.DriverArea, rings.DeviceArea, queue.Next));
    }

    /// <inheritdoc/>
    protected internal override void StopQueue(Virtqueue queue) => Backend.StopQueue(queue.Index);

    /// <summary>Stops the program: it returns the buffers that it has taken, and takes no more until <see cref="Release"/>. While no vCPU
    /// runs. Does nothing if it is stopped already.</summary>
    /// <param name="patience">How long it may take.</param>
    /// <returns>False where it took longer; it then continues.</returns>
    public bool TryHold(TimeSpan patience)
    {
        lock (Gate)
        {
            if (IsLost || _isHeld || !IsUsed)
            {
                return true;
            }

            _isHeld = true;
            long end = Environment.TickCount64 + (long)patience.TotalMilliseconds;
            for (int i = 0; i < QueueSizes.Length; i++)
            {
                if (TryGetRunning(i, out Virtqueue? queue))
                {
                    queue.ContinueAt(Backend.StopQueue(i));
                }
            }

            while (!HasGivenBack())
            {
                if (Environment.TickCount64 > end)
                {
                    Release();
                    return false;
                }

                Thread.Sleep(BetweenLooks);
            }

            return true;
        }
    }

    /// <summary>Ends <see cref="TryHold"/>.</summary>
    public void Release()
    {
        lock (Gate)
        {
            if (!_isHeld)
            {
                return;
            }

            _isHeld = false;
            for (int i = 0; !IsLost && i < QueueSizes.Length; i++)
            {
                if (TryGetRunning(i, out Virtqueue? queue))
                {
                    StartQueue(queue);
                    Configuration.Kick(i);      // buffers that were made available without a notification yet
                }
            }
        }
    }

    /// <summary>Has the guest made a buffer available since it started the device?</summary>
    private bool IsUsed => Enumerable.Range(0, QueueSizes.Length)
        .Any(i => TryGetQueue(i, out Virtqueue? queue) && !Configuration.IsUntouched(queue));

    /// <summary>Has the program returned all buffers that it took? According to the used rings.</summary>
    private bool HasGivenBack() => Enumerable.Range(0, QueueSizes.Length)
        .All(i => !TryGetRunning(i, out Virtqueue? queue) || Configuration.HasUsed(queue, queue.Next));

    /// <summary>Includes the program's own state once the guest has used the device. The program is stopped (<see cref="TryHold"/>).</summary>
    /// <exception cref="NotSupportedException">The program does not give its state.</exception>
    protected internal override void Save(StateWriter state)
    {
        base.Save(state);
        if (!IsUsed)
        {
            return;
        }

        state.Write("program", IsLost ? throw new NotSupportedException($"{Name}: the program that serves it has ended") : Backend.Save());
    }

    /// <inheritdoc/>
    protected internal override void Load(StateReader state)
    {
        base.Load(state);
        if (state.Has("program") && Backend.Load(state.Bytes("program", 0, StateReader.MostBytes)) is { } why)
        {
            throw state.Refuse("program", $"is not taken by the program that serves {Name}: {why}");
        }
    }

    /// <inheritdoc/>
    protected override void ProcessQueue(Virtqueue queue)
    {
        if (!IsLost)
        {
            Configuration.Kick(queue.Index);        // the notification was for the back end: pass it on by its eventfd
            return;
        }

        if (!_takenBack[queue.Index])
        {
            _takenBack[queue.Index] = true;
            foreach (ushort head in queue.TakeBack())
            {
                if (queue.TryTake(head, Buffers, out DescriptorChain chain))
                {
                    FailRequest(queue, chain);
                }
            }
        }

        do
        {
            while (queue.TryPop(Buffers, out DescriptorChain chain))
            {
                FailRequest(queue, chain);
            }
        }
        while (queue.EnableNotify());
        queue.Publish();
    }

    /// <summary>The buffers of the request that is being completed with an error.</summary>
    protected IoVector[] Buffers => field ??= new IoVector[QueueSizes.ToArray().Max()];

    /// <summary>The program was just lost; with the gate held.</summary>
    protected virtual void Lose()
    {
    }

    /// <summary>Completes a request with an error.</summary>
    protected abstract void FailRequest(Virtqueue queue, in DescriptorChain chain);
}

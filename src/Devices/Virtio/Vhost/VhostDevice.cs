using Vmm.Devices.State;

namespace Vmm.Devices.Virtio.Vhost;

/// <summary>A device whose queues are served by another program. This class has the registers that the guest sees, and
/// completes every request with an error when the program is lost.</summary>
/// <param name="name">For people: <c>virtio-fs0</c>.</param>
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

    private readonly bool[] _takenBack = new bool[queueSizes.Length];

    /// <summary>Is the program gone for good? With the gate held.</summary>
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
            queue.Index, (ushort)rings.Size, rings.DescriptorArea, rings.DriverArea, rings.DeviceArea));
    }

    /// <inheritdoc/>
    protected internal override void StopQueue(Virtqueue queue) => Backend.StopQueue(queue.Index);

    /// <summary>Refuses once the guest has asked for anything: what the program knows of it (open files, for instance) would not be
    /// in the state.</summary>
    /// <exception cref="NotSupportedException">It has.</exception>
    protected internal override void Save(StateWriter state)
    {
        for (int i = 0; i < QueueSizes.Length; i++)
        {
            if (TryGetQueue(i, out Virtqueue? queue) && !Configuration.IsUntouched(queue))
            {
                throw new NotSupportedException($"{Name}: its state is in the program that serves it, and cannot be saved");
            }
        }

        base.Save(state);
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

using System.Diagnostics.CodeAnalysis;
using Vmm.Devices.State;

namespace Vmm.Devices.Virtio;

/// <summary>A virtio device as it is behind any transport. What all devices share (status, negotiation, queues,
/// reset, faults) is in <see cref="CommonConfiguration"/>; a device says what it offers and serves its queues.</summary>
/// <remarks>
/// Threads: every protected member is called with <see cref="Gate"/> held. Queues are processed on the event-loop
/// thread; negotiation, configuration space and resets come from vCPU threads. A backend that completes requests
/// takes the gate itself, once per batch.
/// </remarks>
public abstract class VirtioDevice
{
    private readonly ushort[] _queueSizes;
    private CommonConfiguration? _configuration;
    private DelayedKick? _delayed;

    /// <param name="name">The name in messages and statistics: <c>virtio-blk0</c>.</param>
    /// <param name="deviceId">virtio 1.2, section 5: 1 network, 2 block, 4 entropy.</param>
    /// <param name="features">Device-specific features offered (bits 0 to 23 and 50 to 127 as far as they fit).</param>
    /// <param name="queueSizes">The largest size of each queue, a power of two up to 32768.</param>
    protected VirtioDevice(string name, uint deviceId, ulong features, params ReadOnlySpan<ushort> queueSizes)
    {
        foreach (ushort size in queueSizes)
        {
            if (size is 0 or > 32768 || (size & (size - 1)) != 0)
            {
                throw new ArgumentException($"{name}: a queue size of {size} is not a power of two up to 32768");
            }
        }

        Name = name;
        DeviceId = deviceId;
        DeviceFeatures = features;
        _queueSizes = queueSizes.ToArray();
    }

    /// <summary>The name in messages and statistics: <c>virtio-blk0</c>.</summary>
    public string Name { get; }

    /// <summary>The virtio device id.</summary>
    public uint DeviceId { get; }

    /// <summary>Features of the rings and the transport that this device offers. <see cref="VirtioFeatures.Version1"/>
    /// is always offered.</summary>
    public ulong RingFeatures { get; init; } = VirtioFeatures.Default;

    /// <summary>The clock of rate limits.</summary>
    protected TimeProvider Time { get; init; } = TimeProvider.System;

    /// <summary>Everything that is offered to the driver.</summary>
    public virtual ulong OfferedFeatures => DeviceFeatures | RingFeatures | VirtioFeatures.Version1;

    /// <summary>The largest size of each queue.</summary>
    public ReadOnlySpan<ushort> QueueSizes => _queueSizes;

    /// <summary>Bytes of device configuration space; the rest of the transport's window reads as zero.</summary>
    public abstract int ConfigLength { get; }

    /// <summary>Are requests of the driver in flight on the host? Any thread.</summary>
    public virtual bool HasRequests => false;

    /// <summary>Guards all of the device's state. Held only while one queue is served or one register accessed.</summary>
    internal object Gate { get; } = new();

    /// <summary>Device-specific features offered.</summary>
    protected ulong DeviceFeatures { get; }

    /// <summary>Features in force; zero before FEATURES_OK.</summary>
    protected ulong NegotiatedFeatures => _configuration?.NegotiatedFeatures ?? 0;

    internal CommonConfiguration Configuration =>
        _configuration ?? throw new InvalidOperationException($"{Name} is not plugged into a transport");

    /// <summary>The driver notified a queue: serves it. Called on the event-loop thread only; a queue that does not
    /// exist or does not run is ignored.</summary>
    public void Notify(int queue)
    {
        CommonConfiguration configuration = Configuration;
        lock (Gate)
        {
            if (configuration.TryGetRunning(queue, out Virtqueue? running))
            {
                ProcessQueue(running);
            }
        }
    }

    /// <summary>Plugs the device into its transport, once.</summary>
    internal void Attach(CommonConfiguration configuration)
    {
        if (_configuration is not null)
        {
            throw new InvalidOperationException($"{Name} is plugged into a transport already");
        }

        _configuration = configuration;
    }

    /// <summary>Copies out of the configuration space. In range: offset + data.Length is at most
    /// <see cref="ConfigLength"/>.</summary>
    protected internal abstract void ReadConfig(int offset, Span<byte> data);

    /// <summary>The driver writes to the configuration space, in range as for <see cref="ReadConfig"/>.</summary>
    protected internal virtual void WriteConfig(int offset, ReadOnlySpan<byte> data)
    {
    }

    /// <summary>The driver sets FEATURES_OK on a subset of what was offered. False refuses, where features depend on
    /// each other.</summary>
    protected internal virtual bool AcceptFeatures(ulong features) => true;

    /// <summary>DRIVER_OK: queues run from here on.</summary>
    protected internal virtual void Activate()
    {
    }

    /// <summary>The queue starts: at DRIVER_OK, or when it is enabled after that. For devices whose queues another program
    /// serves.</summary>
    protected internal virtual void StartQueue(Virtqueue queue)
    {
    }

    /// <summary>The queue is being taken away, by a reset of the device or of the queue alone. Buffers that no backend
    /// works on are completed now (nothing of them reaches the guest); the others when the backend is done, and the
    /// reset ends with the last of them.</summary>
    protected internal virtual void StopQueue(Virtqueue queue)
    {
    }

    /// <summary>The device is reset; every queue was stopped before.</summary>
    protected internal virtual void Reset()
    {
    }

    /// <summary>Returns buffers that were taken but not used yet (those for received frames) to the front of their queues, before the
    /// state is saved.</summary>
    protected internal virtual void ReturnBuffers()
    {
    }

    /// <summary>Writes the device's own state: what is neither its queues nor what the driver negotiated.</summary>
    protected internal virtual void Save(StateWriter state)
    {
        state.Version(1);
        state.Write("id", DeviceId);
    }

    /// <summary>Loads the device's own state. Negotiated features apply already; queues that ran are started afterwards
    /// (<see cref="Activate"/>).</summary>
    protected internal virtual void Load(StateReader state)
    {
        state.Version(1);
        if (state.UInt32("id") is uint id && id != DeviceId)
        {
            throw state.Refuse("id", $"is that of another kind of device ({id}; this is {DeviceId})");
        }
    }

    /// <summary>Serves a queue, for a bounded time; the gate is held.</summary>
    protected abstract void ProcessQueue(Virtqueue queue);

    /// <summary>The queue, when it runs.</summary>
    protected bool TryGetRunning(int queue, [NotNullWhen(true)] out Virtqueue? running) =>
        Configuration.TryGetRunning(queue, out running);

    /// <summary>The queue, when it has its rings: it runs, or will not before a reset.</summary>
    protected bool TryGetQueue(int queue, [NotNullWhen(true)] out Virtqueue? found) =>
        Configuration.TryGetQueue(queue, out found);

    /// <summary>Publishes what was given back on any queue.</summary>
    protected void PublishAll() => Configuration.PublishAll();

    /// <summary>Has <see cref="ProcessQueue"/> called again, after other queues were served.</summary>
    protected void KickLater(Virtqueue queue) => Configuration.Kick(queue.Index);

    /// <summary>Ends the turn of a queue that may have further requests: other queues are served first.</summary>
    protected void EndTurn(Virtqueue queue)
    {
        queue.Publish();
        KickLater(queue);
    }

    /// <summary>Completes a request, and ends the queue's turn with the last one of its budget.</summary>
    /// <param name="written">Bytes that the device wrote.</param>
    /// <param name="budget">How many requests the turn may take yet, this one included.</param>
    /// <returns>False when the turn is over.</returns>
    protected bool CompleteInTurn(Virtqueue queue, in DescriptorChain chain, uint written, ref int budget)
    {
        queue.Complete(chain, written);
        if (--budget > 0)
        {
            return true;
        }

        EndTurn(queue);
        return false;
    }

    /// <summary>Has <see cref="ProcessQueue"/> called again once some time has passed, for limits. Does not delay kicks that
    /// are pending already.</summary>
    protected void KickAfter(TimeSpan delay, Virtqueue queue)
    {
        _delayed ??= new DelayedKick(this, Time, _queueSizes.Length);
        _delayed.Add(delay, queue.Index);
    }

    /// <summary>The configuration space changed: new generation, and an interrupt. Does nothing before the device is plugged
    /// in.</summary>
    protected void ConfigChanged() => _configuration?.ConfigChanged();
}

/// <summary>How a transport interrupts the driver. Called with the device's gate held, on any thread.</summary>
public interface IVirtioInterrupts
{
    /// <summary>A used buffer notification for this queue.</summary>
    void NotifyQueue(int queue);

    /// <summary>A configuration change notification.</summary>
    void NotifyConfiguration();

    /// <summary>The device was reset: no interrupt is pending any more, and vectors are unmapped.</summary>
    void Reset();
}

/// <summary>How a queue is handed to the event-loop thread.</summary>
public interface IQueueNotifier
{
    /// <summary>Has <see cref="VirtioDevice.Notify"/> called for this queue on the event-loop thread, soon. Called on
    /// any thread, also on the loop's own, with or without the device's gate held: neither blocks nor calls back.
    /// Kicks for a queue that is kicked already may merge.</summary>
    void Kick(VirtioDevice device, int queue);
}

using System.Diagnostics.CodeAnalysis;
using Vmm.Devices.Memory;
using Vmm.Devices.State;

namespace Vmm.Devices.Virtio;

/// <summary>The device's side of one virtqueue (virtio 1.2, section 2.6), whatever its ring format: pop a buffer,
/// give it back with <see cref="Complete"/>, make what was given back visible with <see cref="Publish"/>.</summary>
/// <remarks>
/// Called with the device's gate held. The rings lie wholly in guest memory (checked when the queue was enabled, when
/// their addresses were resolved once), the driver writes to them at any time, and everything it wrote is fetched
/// once, checked, then used. Breaking the rules ends in <see cref="Break"/>, never in an exception. Nothing is
/// allocated and no walk is longer than the queue.
/// </remarks>
public abstract unsafe class Virtqueue
{
    private readonly IVirtqueueOwner _owner;

    private protected Virtqueue(IVirtqueueOwner owner, GuestMemory memory, int index)
    {
        _owner = owner;
        Memory = memory;
        Index = index;
    }

    /// <summary>Its number within the device.</summary>
    public int Index { get; }

    /// <summary>Descriptors in the ring, 1 to 32768.</summary>
    public int Size { get; private set; }

    /// <summary>Buffers popped and not yet given back; never more than <see cref="Size"/>.</summary>
    public int Outstanding { get; private protected set; }

    /// <summary>May buffers be popped? False before DRIVER_OK, after a fault, and once stopped.</summary>
    public bool IsRunning { get; private set; }

    /// <summary>Are the rings still the driver's? When not, whatever is given back is dropped, and nothing more may be
    /// written into the buffers.</summary>
    public bool HasRings { get; private set; }

    private protected GuestMemory Memory { get; }

    /// <summary>May the driver use indirect descriptors (VIRTIO_F_INDIRECT_DESC)?</summary>
    private protected bool Indirect { get; private set; }

    /// <summary>Do event indexes take the place of flags (VIRTIO_F_EVENT_IDX)?</summary>
    private protected bool EventIndex { get; private set; }

    /// <summary>Takes the next available buffer.</summary>
    /// <param name="buffers">Filled with where its descriptors lie; at least <see cref="Size"/> long.</param>
    /// <param name="chain">What was taken.</param>
    /// <returns>False when there is none, or the queue does not run (any more).</returns>
    public abstract bool TryPop(Span<IoVector> buffers, out DescriptorChain chain);

    /// <summary>Takes the buffer that begins with this descriptor, wherever it is in the ring; after
    /// <see cref="TakeBack"/>.</summary>
    /// <inheritdoc cref="TryPop"/>
    internal virtual bool TryTake(ushort head, Span<IoVector> buffers, out DescriptorChain chain)
    {
        chain = default;
        return false;
    }

    /// <summary>Continues with rings that another program served before it ended.</summary>
    /// <returns>Buffers that it took and did not give back, by their first descriptors; none where that cannot be told
    /// from the rings alone.</returns>
    internal virtual IReadOnlyList<ushort> TakeBack() => [];

    /// <summary>The next entry of the available ring to look at.</summary>
    internal virtual ushort Next => 0;

    /// <summary>Another program has served the rings up to here, and has nothing in flight.</summary>
    internal virtual void ContinueAt(ushort next)
    {
    }

    /// <summary>Puts the buffer that was popped last, and not yet given back, back in front of the queue.</summary>
    public abstract void ReturnToQueue(in DescriptorChain chain);

    /// <summary>Gives a buffer back, in any order. The driver sees it after <see cref="Publish"/>. On a queue that was
    /// stopped meanwhile it touches nothing of the guest's.</summary>
    /// <param name="written">Bytes written, from the start of the writable part.</param>
    public void Complete(in DescriptorChain chain, uint written)
    {
        Outstanding--;
        if (HasRings)
        {
            AddUsed(chain, written);
        }
        else if (Outstanding == 0)
        {
            _owner.Drained(this);
        }
    }

    /// <summary>Lets the driver see what was given back since the last call, and interrupts it if it wants that.</summary>
    public void Publish()
    {
        if (HasRings && PublishUsed())
        {
            _owner.Interrupt(this);
        }
    }

    /// <summary>Asks the driver not to notify while the device looks at the ring anyway. Only a hint.</summary>
    public abstract void DisableNotify();

    /// <summary>Asks the driver to notify from the next buffer on.</summary>
    /// <returns>True when a buffer was added meanwhile, for which no notification may come: check the queue again.</returns>
    public abstract bool EnableNotify();

    /// <summary>A request that is malformed beyond what its status could tell: shorter than its header, or without
    /// room for its answer. It is never completed (a driver that polls would take what its buffers held before for
    /// an answer); the device asks for its reset, and the VM goes on.</summary>
    /// <param name="fault">For the log.</param>
    public void Refuse(string fault)
    {
        Outstanding--;
        Break(fault);
        if (!HasRings && Outstanding == 0)
        {
            _owner.Drained(this);
        }
    }

    /// <summary>The driver broke the rules of the ring. Reported once; the device asks for a reset.</summary>
    private protected void Break(string fault)
    {
        if (IsRunning)
        {
            IsRunning = false;
            _owner.Broken(this, fault);
        }
    }

    /// <summary>Checks and resolves the rings. Null when that worked, else what is wrong.</summary>
    internal string? Enable(QueueConfiguration configuration, ulong features)
    {
        string? fault = Locate(configuration);
        if (fault is null)
        {
            Size = (int)configuration.Size;
            Indirect = (features & VirtioFeatures.IndirectDescriptors) != 0;
            EventIndex = (features & VirtioFeatures.EventIndex) != 0;
            Outstanding = 0;
            HasRings = true;
        }

        return fault;
    }

    /// <summary>Writes where the device is in the ring. Nothing is outstanding, and all that was given back is published:
    /// then the next buffer to take is also where the next used one goes.</summary>
    internal abstract void Save(StateWriter state);

    /// <summary>Takes over what <see cref="Save"/> wrote, after <see cref="Enable"/>.</summary>
    internal abstract void Load(StateReader state);

    /// <summary>DRIVER_OK is set: buffers may be popped.</summary>
    internal void Run() => IsRunning = HasRings;

    /// <summary>No popping until the device is reset; buffers in flight are still completed.</summary>
    internal void Pause() => IsRunning = false;

    /// <summary>Drops the rings: nothing is written to them any more.</summary>
    internal void Stop()
    {
        IsRunning = false;
        HasRings = false;
        Forget();
    }

    /// <summary>Finds the rings; see <see cref="Enable"/>.</summary>
    private protected abstract string? Locate(QueueConfiguration configuration);

    /// <summary>Drops the addresses of the rings.</summary>
    private protected abstract void Forget();

    private protected abstract void AddUsed(in DescriptorChain chain, uint written);

    /// <summary>Publishes; does the driver want an interrupt for it?</summary>
    private protected abstract bool PublishUsed();

    /// <summary>Finds one ring area, aligned and in memory.</summary>
    private protected string? LocateRing(GuestAddress address, ulong bytes, ulong alignment, out byte* ring)
    {
        ring = null;
        if ((address.Value & (alignment - 1)) != 0)
        {
            return QueueFault.BadAlignment;
        }

        return Memory.TryGetPointer(address, bytes, out ring) ? null : QueueFault.RingOutsideMemory;
    }

    /// <summary>Do two areas of host memory share a byte?</summary>
    private protected static bool Overlap(byte* left, ulong leftBytes, byte* right, ulong rightBytes) =>
        left < right ? (ulong)(right - left) < leftBytes : (ulong)(left - right) < rightBytes;

    /// <summary>Has the device passed the index at which the driver wants an interrupt (vring_need_event of virtio 1.2,
    /// section 2.7.7.2), all modulo 2^16?</summary>
    private protected static bool NeedsEvent(ushort wanted, ushort now, ushort before) =>
        (ushort)(now - wanted - 1) < (ushort)(now - before);

    [DoesNotReturn]
    private protected static void ThrowTooFewBuffers() =>
        throw new ArgumentException("TryPop needs room for as many vectors as the queue has descriptors");
}

/// <summary>Receives a queue's events. Called with the device's gate held.</summary>
internal interface IVirtqueueOwner
{
    /// <summary>The driver is to be interrupted for this queue.</summary>
    void Interrupt(Virtqueue queue);

    /// <summary>The driver broke the rules; the queue pops nothing more until a reset.</summary>
    void Broken(Virtqueue queue, string fault);

    /// <summary>The last buffer of a queue that was stopped came back.</summary>
    void Drained(Virtqueue queue);
}

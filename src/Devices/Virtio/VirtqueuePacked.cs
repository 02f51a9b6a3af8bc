using Vmm.Devices.Memory;
using Vmm.Devices.State;

namespace Vmm.Devices.Virtio;

/// <summary>A packed virtqueue (virtio 1.2, section 2.8).</summary>
/// <remarks>
/// <code>
/// ring            16 bytes each   address:64  length:32  id:16  flags:16          (2.8.1, aligned to 16)
/// driver, device  off:15  wrap:1  flags:16      when the other side is to notify  (2.8.14, aligned to 4)
/// </code>
/// A descriptor is available when its AVAIL flag equals the device's wrap counter and its USED flag does not (2.8.1.1).
/// The device overwrites descriptors that it has taken, in ring order, with used ones.
/// </remarks>
internal sealed unsafe class VirtqueuePacked(IVirtqueueOwner owner, GuestMemory memory, int index)
    : Virtqueue(owner, memory, index)
{
    private const uint DescriptorBytes = 16;
    private const uint NextFlag = 1;
    private const uint WriteFlag = 2;
    private const uint IndirectFlag = 4;
    private const uint AvailFlag = 1 << 7;
    private const uint UsedFlag = 1 << 15;
    private const uint EventEnable = 0;     // RING_EVENT_FLAGS_ENABLE, 2.8.10
    private const uint EventDisable = 1;    // RING_EVENT_FLAGS_DISABLE
    private const uint EventDescriptor = 2; // RING_EVENT_FLAGS_DESC

    private byte* _ring;
    private byte* _driver;
    private byte* _device;
    private uint _next;             // where the next available descriptor will be
    private bool _availWrap;
    private uint _taken;            // descriptors popped and not yet given back
    private uint _usedNext;         // where the next used descriptor goes
    private bool _usedWrap;
    private byte* _heldBack;        // the first used descriptor of a batch: its flags are written last
    private ushort _heldFlags;
    private uint _batch;            // descriptors given back since the last PublishUsed

    public override bool TryPop(Span<IoVector> buffers, out DescriptorChain chain)
    {
        chain = default;
        if (!IsRunning)
        {
            return false;
        }

        if (buffers.Length < Size)
        {
            ThrowTooFewBuffers();
        }

        // Acquire: what the flags make available (this address, the descriptors behind it) is read after them. The
        // length, the id and the flags are one fetch.
        // SAFETY: _next is below the size, and the ring lies in memory as a whole (Locate).
        ulong rest = Volatile.Read(ref *(ulong*)(_ring + (_next * DescriptorBytes) + 8));
        if (!IsAvailable((uint)(rest >> 48)))
        {
            return false;
        }

        uint room = (uint)Size - _taken;
        if (room == 0)
        {
            Break(QueueFault.TooManyInFlight);
            return false;
        }

        var collector = new VirtqueueCollector(Memory, buffers, Size);
        if (!Walk(rest, room, ref collector, out uint count, out ushort id))
        {
            Break(collector.Fault);
            return false;
        }

        _next += count;
        if (_next >= (uint)Size)
        {
            _next -= (uint)Size;
            _availWrap = !_availWrap;
        }

        _taken += count;
        Outstanding++;
        chain = collector.Finish(id, (int)count);
        return true;
    }

    public override void ReturnToQueue(in DescriptorChain chain)
    {
        Outstanding--;
        _taken -= chain.Descriptors;
        if (_next < chain.Descriptors)
        {
            _next += (uint)Size;
            _availWrap = !_availWrap;
        }

        _next -= chain.Descriptors;
    }

    public override void DisableNotify()
    {
        if (HasRings)
        {
            // SAFETY: the device area, in memory as checked by Locate.
            Volatile.Write(ref *(uint*)_device, EventDisable << 16);
        }
    }

    public override bool EnableNotify()
    {
        if (!IsRunning)
        {
            return false;
        }

        // Position and flags are one store: the driver never sees one without the other.
        uint request = EventIndex ? _next | (_availWrap ? 1u << 15 : 0) | (EventDescriptor << 16) : EventEnable << 16;

        // SAFETY: the device area, in memory as checked by Locate; _next is below the size.
        Volatile.Write(ref *(uint*)_device, request);

        // Full fence: the request must be visible before the ring is looked at again. Were the load to go first, the
        // driver could make a buffer available, read the old setting and not notify.
        Interlocked.MemoryBarrier();
        return IsAvailable(Volatile.Read(ref *(ushort*)(_ring + (_next * DescriptorBytes) + 14)));
    }

    internal override void Save(StateWriter state)
    {
        state.Write("next", _next);
        state.Write("wrap", _availWrap);
    }

    internal override void Load(StateReader state)
    {
        _next = _usedNext = state.UInt32("next", (uint)Size - 1);
        _availWrap = _usedWrap = state.Boolean("wrap");
    }

    private protected override void AddUsed(in DescriptorChain chain, uint written)
    {
        // SAFETY: _usedNext is below the size. It stays behind _next, so only descriptors that were popped are
        // overwritten.
        byte* used = _ring + (_usedNext * DescriptorBytes);
        *(uint*)(used + 8) = written;
        *(ushort*)(used + 12) = chain.Id;
        var flags = (ushort)((_usedWrap ? AvailFlag | UsedFlag : 0) | (written != 0 ? WriteFlag : 0));
        if (_heldBack is null)
        {
            // The driver looks at used descriptors in order: until this one shows, none behind it does.
            _heldBack = used;
            _heldFlags = flags;
        }
        else
        {
            *(ushort*)(used + 14) = flags;
        }

        _taken -= chain.Descriptors;
        _batch += chain.Descriptors;
        _usedNext += chain.Descriptors;
        if (_usedNext >= (uint)Size)
        {
            _usedNext -= (uint)Size;
            _usedWrap = !_usedWrap;
        }
    }

    private protected override bool PublishUsed()
    {
        if (_heldBack is null)
        {
            return false;
        }

        // Release: data, ids, lengths and the flags of the used descriptors behind this one are visible before it.
        // SAFETY: a descriptor of the ring, see AddUsed.
        Volatile.Write(ref *(ushort*)(_heldBack + 14), _heldFlags);
        _heldBack = null;
        var before = (ushort)(_usedNext - _batch);
        _batch = 0;

        // Full fence: the used descriptors must be visible before the driver's request is read. Were the load to go
        // first, the driver could ask for an interrupt, see nothing used, and sleep while this side reads its old request.
        Interlocked.MemoryBarrier();

        // SAFETY: the driver area, in memory as checked by Locate. Position and flags are one fetch.
        uint request = Volatile.Read(ref *(uint*)_driver);
        uint flags = request >> 16;
        if (flags != EventDescriptor || !EventIndex)
        {
            return flags != EventDisable;
        }

        uint position = request & 0x7fff;
        if (((request >> 15) & 1) != (_usedWrap ? 1u : 0u))
        {
            position -= (uint)Size;     // its wrap counter is the previous one
        }

        return NeedsEvent((ushort)position, (ushort)_usedNext, before);
    }

    private protected override string? Locate(QueueConfiguration configuration)
    {
        uint size = configuration.Size;
        if (size == 0 || size > configuration.MaxSize)
        {
            return QueueFault.BadSize;
        }

        ulong ringBytes = (ulong)size * DescriptorBytes;
        string? fault = LocateRing(configuration.DescriptorArea, ringBytes, 16, out byte* ring)
            ?? LocateRing(configuration.DriverArea, 4, 4, out _driver)
            ?? LocateRing(configuration.DeviceArea, 4, 4, out _device);
        if (fault is null && (Overlap(ring, ringBytes, _driver, 4)
            || Overlap(ring, ringBytes, _device, 4) || Overlap(_driver, 4, _device, 4)))
        {
            fault = QueueFault.RingsOverlap;
        }

        _ring = ring;
        _heldBack = null;
        _next = _usedNext = _taken = _batch = 0;
        _availWrap = _usedWrap = true;      // 2.8.1: both counters start at 1
        return fault;
    }

    private protected override void Forget() => _ring = _driver = _device = _heldBack = null;

    private bool IsAvailable(uint flags) =>
        ((flags & AvailFlag) != 0) == _availWrap && ((flags & UsedFlag) != 0) != _availWrap;

    /// <summary>Takes the descriptors of one buffer, which lie behind each other in the ring (2.8.6), the last of them
    /// perhaps an indirect table.</summary>
    /// <param name="rest">Length, id and flags of the first, fetched already.</param>
    /// <param name="room">Descriptors of the ring that are not in flight.</param>
    /// <param name="collector">Takes the descriptors.</param>
    /// <param name="count">Descriptors of the ring that the buffer takes up.</param>
    /// <param name="id">The buffer's, from its last descriptor.</param>
    private bool Walk(ulong rest, uint room, ref VirtqueueCollector collector, out uint count, out ushort id)
    {
        uint at = _next;
        count = 0;
        while (true)
        {
            // SAFETY: at is below the size. Each field is fetched once.
            ulong address = Volatile.Read(ref *(ulong*)(_ring + (at * DescriptorBytes)));
            var length = (uint)rest;
            id = (ushort)(rest >> 32);
            var flags = (uint)(rest >> 48);
            count++;
            bool added = (flags & IndirectFlag) == 0
                ? collector.Add(address, length, (flags & WriteFlag) != 0)
                : WalkIndirect(address, length, flags, ref collector);
            if (!added)
            {
                return false;
            }

            if ((flags & NextFlag) == 0)
            {
                return true;
            }

            if (count == room)
            {
                return collector.Fail(QueueFault.TooLong);
            }

            at = at + 1 == (uint)Size ? 0 : at + 1;
            rest = Volatile.Read(ref *(ulong*)(_ring + (at * DescriptorBytes) + 8));
        }
    }

    /// <summary>All descriptors of an indirect table belong to the buffer, in order; of their flags only WRITE means
    /// anything (2.8.7), but INDIRECT is forbidden.</summary>
    private bool WalkIndirect(ulong address, uint length, uint flags, ref VirtqueueCollector collector)
    {
        if (!Indirect)
        {
            return collector.Fail(QueueFault.IndirectNotNegotiated);
        }

        if ((flags & NextFlag) != 0)
        {
            return collector.Fail(QueueFault.IndirectWithNext);
        }

        if (length == 0 || length % DescriptorBytes != 0)
        {
            return collector.Fail(QueueFault.IndirectLength);
        }

        if (!Memory.TryGetPointer(new GuestAddress(address), length, out byte* table))
        {
            return collector.Fail(QueueFault.IndirectOutsideMemory);
        }

        // The collector's budget ends this after as many descriptors as the queue has, whatever the length says.
        for (byte* end = table + length; table < end; table += DescriptorBytes)
        {
            // SAFETY: within the table, all of which lies in memory. Each field is fetched once.
            ulong rest = Volatile.Read(ref *(ulong*)(table + 8));
            var entryFlags = (uint)(rest >> 48);
            if ((entryFlags & IndirectFlag) != 0)
            {
                return collector.Fail(QueueFault.IndirectNested);
            }

            if (!collector.Add(Volatile.Read(ref *(ulong*)table), (uint)rest, (entryFlags & WriteFlag) != 0))
            {
                return false;
            }
        }

        return true;
    }
}

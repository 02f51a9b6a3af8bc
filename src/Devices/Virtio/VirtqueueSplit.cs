using Vmm.Devices.Memory;
using Vmm.Devices.State;

namespace Vmm.Devices.Virtio;

/// <summary>A split virtqueue (virtio 1.2, section 2.7).</summary>
/// <remarks>
/// <code>
/// table  16 bytes each   address:64  length:32  flags:16  next:16                 (2.7.5, aligned to 16)
/// avail  flags:16  idx:16  ring[size]:16  used_event:16                           (2.7.6, aligned to 2)
/// used   flags:16  idx:16  ring[size] of { id:32  length:32 }  avail_event:16     (2.7.8, aligned to 4)
/// </code>
/// Everything is little-endian, as is every host that vmm runs on.
/// </remarks>
internal sealed unsafe partial class VirtqueueSplit(IVirtqueueOwner owner, GuestMemory memory, int index)
    : Virtqueue(owner, memory, index)
{
    private const uint DescriptorBytes = 16;
    private const ushort NextFlag = 1;
    private const ushort WriteFlag = 2;
    private const ushort IndirectFlag = 4;
    private const ushort AvailNoInterrupt = 1;
    private const ushort UsedNoNotify = 1;

    private byte* _table;
    private byte* _avail;
    private byte* _used;
    private uint _mask;             // size - 1: the size is a power of two
    private ushort _nextAvail;      // the next avail entry to look at
    private ushort _availIdx;       // avail.idx as last fetched: entries up to here are ours to read
    private ushort _usedIdx;        // used.idx including what is not published yet
    private ushort _published;      // used.idx as the driver sees it

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

        if (_nextAvail == _availIdx && !FetchAvailIdx())
        {
            return false;
        }

        // Each buffer takes a descriptor at least. Without this a driver that offers one head for ever would have
        // the device keep ever more requests.
        if (Outstanding == Size)
        {
            Break(QueueFault.TooManyInFlight);
            return false;
        }

        // SAFETY: the index is masked to the ring, which lies in memory as a whole (Locate).
        ushort head = Volatile.Read(ref *(ushort*)(_avail + 4 + ((_nextAvail & _mask) * 2)));
        if (head >= Size)
        {
            Break(QueueFault.HeadOutOfRange);
            return false;
        }

        var collector = new VirtqueueCollector(Memory, buffers, Size);
        if (!Walk(head, ref collector))
        {
            Break(collector.Fault);
            return false;
        }

        _nextAvail++;
        Outstanding++;
        chain = collector.Finish(head, 1);
        return true;
    }

    public override void ReturnToQueue(in DescriptorChain chain)
    {
        Outstanding--;
        _nextAvail--;
    }

    public override void DisableNotify()
    {
        if (HasRings && !EventIndex)
        {
            // With event indexes nothing needs to be done: avail_event stays where the driver has already passed it.
            // SAFETY: used.flags, in memory as checked by Locate.
            Volatile.Write(ref *(ushort*)_used, UsedNoNotify);
        }
    }

    public override bool EnableNotify()
    {
        if (!IsRunning)
        {
            return false;
        }

        // SAFETY: both fields are part of the used ring as checked by Locate.
        if (EventIndex)
        {
            Volatile.Write(ref *(ushort*)(_used + 4 + ((ulong)Size * 8)), _nextAvail);
        }
        else
        {
            Volatile.Write(ref *(ushort*)_used, 0);
        }

        // Full fence: the store above must be visible before avail.idx is read again. Were the load to go first, the
        // driver could add a buffer, read the old setting and not notify, and the buffer would not be served.
        Interlocked.MemoryBarrier();
        return _nextAvail != _availIdx || FetchAvailIdx();
    }

    internal override void Save(StateWriter state) => state.Write("next", (uint)_nextAvail);

    internal override void Load(StateReader state) => ContinueAt(state.UInt16("next"));

    internal override ushort Next => _nextAvail;

    internal override void ContinueAt(ushort next) => _nextAvail = _availIdx = _usedIdx = _published = next;

    private protected override void AddUsed(in DescriptorChain chain, uint written)
    {
        // SAFETY: the index is masked to the ring, which lies in memory as a whole. The element is 8-aligned less 4:
        // used is 4-aligned, so two stores; neither is looked at before used.idx covers it.
        byte* element = _used + 4 + ((_usedIdx & _mask) * 8);
        *(uint*)element = chain.Id;
        *(uint*)(element + 4) = written;
        _usedIdx++;
    }

    private protected override bool PublishUsed()
    {
        ushort before = _published;
        ushort now = _usedIdx;
        if (now == before)
        {
            return false;
        }

        // Release: the used elements, and the data written into the buffers, are visible before the index that hands
        // them to the driver.
        // SAFETY: used.idx, in memory as checked by Locate.
        Volatile.Write(ref *(ushort*)(_used + 2), now);
        _published = now;

        // Full fence: the index must be visible before the driver's setting is read. Were the load to go first, the driver
        // could ask for an interrupt, see no new index, and sleep while this side reads the old setting.
        Interlocked.MemoryBarrier();

        // SAFETY: both fields are part of the avail ring as checked by Locate.
        return EventIndex
            ? NeedsEvent(Volatile.Read(ref *(ushort*)(_avail + 4 + ((ulong)Size * 2))), now, before)
            : (Volatile.Read(ref *(ushort*)_avail) & AvailNoInterrupt) == 0;
    }

    private protected override string? Locate(QueueConfiguration configuration)
    {
        uint size = configuration.Size;
        if (size == 0 || size > configuration.MaxSize || (size & (size - 1)) != 0)
        {
            return QueueFault.BadSize;
        }

        ulong tableBytes = (ulong)size * DescriptorBytes;
        ulong availBytes = 6 + ((ulong)size * 2);
        ulong usedBytes = 6 + ((ulong)size * 8);
        string? fault = LocateRing(configuration.DescriptorArea, tableBytes, 16, out byte* table)
            ?? LocateRing(configuration.DriverArea, availBytes, 2, out _avail)
            ?? LocateRing(configuration.DeviceArea, usedBytes, 4, out _used);
        if (fault is null && (Overlap(table, tableBytes, _avail, availBytes)
            || Overlap(table, tableBytes, _used, usedBytes) || Overlap(_avail, availBytes, _used, usedBytes)))
        {
            fault = QueueFault.RingsOverlap;
        }

        _table = table;
        _mask = size - 1;
        _nextAvail = _availIdx = _usedIdx = _published = 0;
        return fault;
    }

    private protected override void Forget() => _table = _avail = _used = null;

    /// <summary>Looks whether the driver has added buffers.</summary>
    private bool FetchAvailIdx()
    {
        // Acquire: the avail entries and descriptors that the index covers are read after it, never before.
        // SAFETY: avail.idx, in memory as checked by Locate.
        ushort idx = Volatile.Read(ref *(ushort*)(_avail + 2));
        ushort pending = (ushort)(idx - _nextAvail);
        if (pending == 0)
        {
            return false;
        }

        if (pending > Size)
        {
            Break(QueueFault.AvailIndexJumped);
            return false;
        }

        _availIdx = idx;
        return true;
    }

    /// <summary>Follows a chain through the table and, from its last descriptor, into an indirect table (2.7.5.3.2:
    /// normal descriptors may come before it).</summary>
    private bool Walk(uint next, ref VirtqueueCollector collector)
    {
        byte* table = _table;
        uint entries = (uint)Size;
        bool inIndirect = false;
        while (true)
        {
            if (next >= entries)
            {
                return collector.Fail(QueueFault.NextOutOfRange);
            }

            // One fetch each: the driver may change the descriptor at any time, and .NET's memory model lets no
            // compiler read twice what was read once.
            // SAFETY: next < entries, and all entries of the table lie in memory.
            byte* descriptor = table + ((ulong)next * DescriptorBytes);
            ulong address = Volatile.Read(ref *(ulong*)descriptor);
            ulong rest = Volatile.Read(ref *(ulong*)(descriptor + 8));
            uint length = (uint)rest;
            uint flags = (uint)(rest >> 32) & 0xffff;
            if ((flags & IndirectFlag) == 0)
            {
                if (!collector.Add(address, length, (flags & WriteFlag) != 0))
                {
                    return false;
                }

                if ((flags & NextFlag) == 0)
                {
                    return true;
                }

                next = (uint)(rest >> 48);
                continue;
            }

            if (!EnterIndirect(address, length, flags, inIndirect, ref collector, out table))
            {
                return false;
            }

            inIndirect = true;
            entries = length / DescriptorBytes;
            next = 0;
        }
    }

    private bool EnterIndirect(
        ulong address, uint length, uint flags, bool inIndirect, ref VirtqueueCollector collector, out byte* table)
    {
        table = null;
        string? fault = !Indirect ? QueueFault.IndirectNotNegotiated
            : inIndirect ? QueueFault.IndirectNested
            : (flags & NextFlag) != 0 ? QueueFault.IndirectWithNext
            : length == 0 || length % DescriptorBytes != 0 ? QueueFault.IndirectLength
            : !Memory.TryGetPointer(new GuestAddress(address), length, out table) ? QueueFault.IndirectOutsideMemory
            : null;
        return fault is null || collector.Fail(fault);
    }
}

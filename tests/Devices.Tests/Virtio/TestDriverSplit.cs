using Vmm.Devices.Memory;

namespace Vmm.Devices.Tests.Virtio;

/// <summary>The driver's side of a split ring (virtio 1.2, section 2.7).</summary>
internal sealed class TestDriverSplit : TestDriverQueue
{
    public const ushort Next = 1;
    public const ushort Device = 2;
    public const ushort Indirect = 4;

    private readonly bool _eventIndex;
    private readonly Stack<ushort> _free = new();
    private readonly Dictionary<int, ushort[]> _chains = [];
    private ushort _availIdx;
    private ushort _notified;
    private ushort _usedIdx;

    /// <param name="start">4096-aligned; takes up at most 32 bytes for each descriptor and 4 KiB.</param>
    public TestDriverSplit(GuestMemory memory, int index, uint size, ulong start, bool eventIndex)
        : base(memory, index, size)
    {
        _eventIndex = eventIndex;
        DescriptorArea = start;
        DriverArea = start + (size * 16);
        DeviceArea = (DriverArea + 6 + (size * 2) + 63) & ~63UL;
        for (int i = (int)size - 1; i >= 0; i--)
        {
            _free.Push((ushort)i);
        }
    }

    public override ulong DescriptorArea { get; }

    public override ulong DriverArea { get; }

    public override ulong DeviceArea { get; }

    public ushort UsedIdx => Read<ushort>(DeviceArea + 2);

    public int FreeDescriptors => _free.Count;

    public override int Add(params ReadOnlySpan<Buffer> buffers)
    {
        var chain = new ushort[buffers.Length];
        for (int i = 0; i < chain.Length; i++)
        {
            chain[i] = _free.Pop();
        }

        for (int i = 0; i < chain.Length; i++)
        {
            bool last = i == chain.Length - 1;
            Descriptor(
                chain[i], buffers[i].Address, buffers[i].Length,
                (ushort)((buffers[i].Writable ? Device : 0) | (last ? 0 : Next)), last ? (ushort)0 : chain[i + 1]);
        }

        _chains[chain[0]] = chain;
        Offer(chain[0]);
        return chain[0];
    }

    public override int AddIndirect(ulong table, params ReadOnlySpan<Buffer> buffers)
    {
        for (int i = 0; i < buffers.Length; i++)
        {
            bool last = i == buffers.Length - 1;
            WriteDescriptor(
                table + ((ulong)i * 16), buffers[i].Address, buffers[i].Length,
                (ushort)((buffers[i].Writable ? Device : 0) | (last ? 0 : Next)), (ushort)(i + 1));
        }

        ushort head = _free.Pop();
        Descriptor(head, table, (uint)buffers.Length * 16, Indirect, 0);
        _chains[head] = [head];
        Offer(head);
        return head;
    }

    public override bool TryTake(out int id, out uint length)
    {
        id = 0;
        length = 0;
        if (UsedIdx == _usedIdx)
        {
            return false;
        }

        Thread.MemoryBarrier();
        ulong element = DeviceArea + 4 + ((ulong)(_usedIdx % Size) * 8);
        id = Read<int>(element);
        length = Read<uint>(element + 4);
        _usedIdx++;
        if (_chains.Remove(id, out ushort[]? chain))
        {
            foreach (ushort descriptor in chain.Reverse())
            {
                _free.Push(descriptor);
            }
        }

        if (_eventIndex)
        {
            Write(DriverArea + 4 + (Size * 2), _usedIdx);
            Thread.MemoryBarrier();
        }

        return true;
    }

    public override bool NeedsNotify()
    {
        Thread.MemoryBarrier();
        ushort before = _notified;
        _notified = _availIdx;
        if (!_eventIndex)
        {
            return before != _availIdx && (Read<ushort>(DeviceArea) & 1) == 0;
        }

        ushort wanted = Read<ushort>(DeviceArea + 4 + (Size * 8));
        return (ushort)(_availIdx - wanted - 1) < (ushort)(_availIdx - before);
    }

    public override void WantInterrupts(bool want)
    {
        if (_eventIndex)
        {
            Write(DriverArea + 4 + (Size * 2), (ushort)(want ? _usedIdx : _usedIdx - 1));
        }
        else
        {
            Write(DriverArea, (ushort)(want ? 0 : 1));
        }

        Thread.MemoryBarrier();
    }

    /// <summary>Writes any descriptor, however wrong.</summary>
    public void Descriptor(ushort index, ulong address, uint length, ushort flags, ushort next) =>
        WriteDescriptor(DescriptorArea + (index * 16u), address, length, flags, next);

    public void WriteDescriptor(ulong at, ulong address, uint length, ushort flags, ushort next)
    {
        Write(at, address);
        Write(at + 8, length);
        Write(at + 12, flags);
        Write(at + 14, next);
    }

    /// <summary>Puts any head into the avail ring.</summary>
    public void Offer(ushort head)
    {
        Write(DriverArea + 4 + ((ulong)(_availIdx % Size) * 2), head);
        SetAvailIdx((ushort)(_availIdx + 1));
    }

    public void SetAvailIdx(ushort value)
    {
        _availIdx = value;
        Thread.MemoryBarrier();
        Write(DriverArea + 2, value);
    }
}

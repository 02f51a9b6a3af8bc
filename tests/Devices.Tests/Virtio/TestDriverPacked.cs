using Vmm.Devices.Memory;

namespace Vmm.Devices.Tests.Virtio;

/// <summary>The driver's side of a packed ring (virtio 1.2, section 2.8).</summary>
internal sealed class TestDriverPacked : TestDriverQueue
{
    public const ushort Next = 1;
    public const ushort Device = 2;
    public const ushort Indirect = 4;
    public const ushort Avail = 1 << 7;
    public const ushort Used = 1 << 15;

    private readonly bool _eventIndex;
    private readonly Dictionary<int, int> _descriptors = [];
    private readonly Stack<ushort> _ids = new();
    private uint _next;
    private bool _wrap = true;
    private uint _usedNext;
    private bool _usedWrap = true;
    private uint _added;

    public TestDriverPacked(GuestMemory memory, int index, uint size, ulong start, bool eventIndex)
        : base(memory, index, size)
    {
        _eventIndex = eventIndex;
        DescriptorArea = start;
        DriverArea = start + (size * 16);
        DeviceArea = DriverArea + 4;
        for (int i = (int)size - 1; i >= 0; i--)
        {
            _ids.Push((ushort)i);
        }
    }

    public override ulong DescriptorArea { get; }

    public override ulong DriverArea { get; }

    public override ulong DeviceArea { get; }

    public uint Position => _next;

    public ushort AvailFlags => _wrap ? Avail : Used;

    public override int Add(params ReadOnlySpan<Buffer> buffers)
    {
        ushort id = _ids.Pop();
        uint first = _next;
        ushort firstFlags = 0;
        for (int i = 0; i < buffers.Length; i++)
        {
            bool last = i == buffers.Length - 1;
            var flags = (ushort)((buffers[i].Writable ? Device : 0) | (last ? 0 : Next) | AvailFlags);
            ulong at = DescriptorArea + (_next * 16);
            Write(at, buffers[i].Address);
            Write(at + 8, buffers[i].Length);
            Write(at + 12, last ? id : (ushort)0xffff);
            if (i == 0)
            {
                firstFlags = flags;
            }
            else
            {
                Write(at + 14, flags);
            }

            Advance();
        }

        Thread.MemoryBarrier();
        Write(DescriptorArea + (first * 16) + 14, firstFlags);      // the first last: it makes the chain available
        _descriptors[id] = buffers.Length;
        return id;
    }

    public override int AddIndirect(ulong table, params ReadOnlySpan<Buffer> buffers)
    {
        for (int i = 0; i < buffers.Length; i++)
        {
            ulong at = table + ((ulong)i * 16);
            Write(at, buffers[i].Address);
            Write(at + 8, buffers[i].Length);
            Write(at + 12, (ushort)0);
            Write(at + 14, (ushort)(buffers[i].Writable ? Device : 0));
        }

        ushort id = _ids.Pop();
        _descriptors[id] = 1;
        Raw(table, (uint)buffers.Length * 16, id, Indirect);
        return id;
    }

    /// <summary>Makes any descriptor available at the next position.</summary>
    public void Raw(ulong address, uint length, ushort id, ushort flags)
    {
        ulong at = DescriptorArea + (_next * 16);
        Write(at, address);
        Write(at + 8, length);
        Write(at + 12, id);
        Thread.MemoryBarrier();
        Write(at + 14, (ushort)(flags | AvailFlags));
        Advance();
    }

    public override bool TryTake(out int id, out uint length)
    {
        id = 0;
        length = 0;
        ulong at = DescriptorArea + (_usedNext * 16);
        ushort flags = Read<ushort>(at + 14);
        bool avail = (flags & Avail) != 0;
        bool used = (flags & Used) != 0;
        if (avail != used || used != _usedWrap)
        {
            return false;
        }

        Thread.MemoryBarrier();
        id = Read<ushort>(at + 12);
        length = (flags & Device) != 0 ? Read<uint>(at + 8) : 0;
        Assert.True(_descriptors.Remove(id, out int count));
        _ids.Push((ushort)id);
        _usedNext += (uint)count;
        if (_usedNext >= Size)
        {
            _usedNext -= Size;
            _usedWrap = !_usedWrap;
        }

        return true;
    }

    public override bool NeedsNotify()
    {
        Thread.MemoryBarrier();
        uint added = _added;
        _added = 0;
        uint wish = Read<uint>(DeviceArea);
        if (wish >> 16 != 2)
        {
            return added != 0 && wish >> 16 == 0;
        }

        Assert.True(_eventIndex);
        int wanted = (int)(wish & 0x7fff);
        if (((wish >> 15) & 1) != (_wrap ? 1u : 0u))
        {
            wanted -= (int)Size;
        }

        return (ushort)(_next - wanted - 1) < (ushort)added;
    }

    public override void WantInterrupts(bool want)
    {
        uint position = _usedNext | (_usedWrap ? 1u << 15 : 0);
        Write(DriverArea, want ? (_eventIndex ? position | (2u << 16) : 0u) : 1u << 16);
        Thread.MemoryBarrier();
    }

    private void Advance()
    {
        _added++;
        if (++_next == Size)
        {
            _next = 0;
            _wrap = !_wrap;
        }
    }
}

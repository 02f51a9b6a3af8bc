using Vmm.Devices.Memory;

namespace Vmm.Devices.Tests.Virtio;

/// <summary>What sections 2.7 and 2.8 of virtio 1.2 say that a device sees in a ring, written as plainly as possible:
/// addresses are computed anew each time, nothing is cached, everything is a list.</summary>
internal abstract class RingModel(GuestMemory memory, uint size, ulong table, bool indirect)
{
    protected const ushort Next = 1;
    protected const ushort Write = 2;
    protected const ushort Indirect = 4;

    public enum Outcome
    {
        Empty,
        Fault,
        Chain,
    }

    public uint Size => size;

    public int InFlight { get; protected set; }

    protected ulong Table => table;

    protected bool MayIndirect => indirect;

    /// <summary>What popping yields, and the non-empty buffers of the chain.</summary>
    public abstract Outcome Pop(List<Buffer> buffers, out ushort id);

    /// <summary>A buffer is given back; checks that the device wrote into the ring what it should.</summary>
    public abstract void CheckUsed(ushort id, uint written);

    public abstract void CheckPublished();

    protected T Read<T>(ulong address)
        where T : unmanaged => memory.Read<T>(new GuestAddress(address));

    protected Outcome Check(List<Buffer> buffers)
    {
        ulong total = 0;
        bool writing = false;
        foreach (Buffer buffer in buffers)
        {
            total += buffer.Length;
            if (writing && !buffer.Writable)
            {
                return Outcome.Fault;
            }

            writing |= buffer.Writable;
            if (buffer.Length > 0 && !memory.Contains(new GuestAddress(buffer.Address), buffer.Length))
            {
                return Outcome.Fault;
            }
        }

        bool tooLong = buffers.Count > size || total > 1UL << 32;
        buffers.RemoveAll(static buffer => buffer.Length == 0);
        return tooLong ? Outcome.Fault : Outcome.Chain;
    }

    protected bool IsTable(ulong address, uint length) =>
        length != 0 && length % 16 == 0 && memory.Contains(new GuestAddress(address), length);
}

internal sealed class SplitModel(GuestMemory memory, TestDriverQueue ring, bool indirect)
    : RingModel(memory, ring.Size, ring.DescriptorArea, indirect)
{
    private ushort _next;
    private ushort _used;

    public override Outcome Pop(List<Buffer> buffers, out ushort id)
    {
        buffers.Clear();
        id = 0;
        ushort pending = (ushort)(Read<ushort>(ring.DriverArea + 2) - _next);
        if (pending == 0)
        {
            return Outcome.Empty;
        }

        id = Read<ushort>(ring.DriverArea + 4 + ((ulong)(_next % Size) * 2));
        if (pending > Size || InFlight == Size || !Walk(id, buffers) || Check(buffers) == Outcome.Fault)
        {
            return Outcome.Fault;
        }

        _next++;
        InFlight++;
        return Outcome.Chain;
    }

    public override void CheckUsed(ushort id, uint written)
    {
        ulong element = ring.DeviceArea + 4 + ((ulong)(_used % Size) * 8);
        Assert.Equal(id, Read<uint>(element));
        Assert.Equal(written, Read<uint>(element + 4));
        _used++;
        InFlight--;
    }

    public override void CheckPublished() => Assert.Equal(_used, Read<ushort>(ring.DeviceArea + 2));

    private bool Walk(uint index, List<Buffer> buffers)
    {
        ulong table = Table;
        uint entries = Size;
        while (true)
        {
            if (index >= entries || buffers.Count > Size)
            {
                return false;
            }

            ulong at = table + (index * 16);
            ulong address = Read<ulong>(at);
            uint length = Read<uint>(at + 8);
            ushort flags = Read<ushort>(at + 12);
            if ((flags & Indirect) != 0)
            {
                if (!MayIndirect || table != Table || (flags & Next) != 0 || !IsTable(address, length))
                {
                    return false;
                }

                table = address;
                entries = length / 16;
                index = 0;
                continue;
            }

            buffers.Add(new Buffer(address, length, (flags & Write) != 0));
            if ((flags & Next) == 0)
            {
                return true;
            }

            index = Read<ushort>(at + 14);
        }
    }
}

internal sealed class PackedModel(GuestMemory memory, TestDriverQueue ring, bool indirect)
    : RingModel(memory, ring.Size, ring.DescriptorArea, indirect)
{
    private readonly Dictionary<ushort, Queue<uint>> _counts = [];
    private uint _next;
    private bool _wrap = true;
    private uint _taken;
    private uint _used;
    private bool _usedWrap = true;

    public bool Wrap => _wrap;

    public uint Position => _next;

    public override Outcome Pop(List<Buffer> buffers, out ushort id)
    {
        buffers.Clear();
        id = 0;
        uint at = _next;
        uint count = 0;
        if (!IsAvailable(Read<ushort>(Table + (at * 16) + 14)))
        {
            return Outcome.Empty;
        }

        bool more = true;
        while (more)
        {
            if (_taken + count == Size)
            {
                return Outcome.Fault;
            }

            ulong descriptor = Table + (at * 16);
            ushort flags = Read<ushort>(descriptor + 14);
            ulong address = Read<ulong>(descriptor);
            uint length = Read<uint>(descriptor + 8);
            id = Read<ushort>(descriptor + 12);
            more = (flags & Next) != 0;
            count++;
            at = (at + 1) % Size;
            if ((flags & Indirect) == 0)
            {
                buffers.Add(new Buffer(address, length, (flags & Write) != 0));
            }
            else if (!MayIndirect || more || !IsTable(address, length) || !Entries(address, length / 16, buffers))
            {
                return Outcome.Fault;
            }
        }

        if (Check(buffers) == Outcome.Fault)
        {
            return Outcome.Fault;
        }

        if (at <= _next)
        {
            _wrap = !_wrap;
        }

        _next = at;
        _taken += count;
        InFlight++;
        if (!_counts.TryGetValue(id, out Queue<uint>? counts))
        {
            _counts[id] = counts = new Queue<uint>();
        }

        counts.Enqueue(count);
        return Outcome.Chain;
    }

    public override void CheckUsed(ushort id, uint written)
    {
        ulong at = Table + (_used * 16);
        Assert.Equal(written, Read<uint>(at + 8));
        Assert.Equal(id, Read<ushort>(at + 12));
        int expected = (_usedWrap ? 0x8080 : 0) | (written != 0 ? Write : 0);
        Assert.Equal(expected, Read<ushort>(at + 14));
        uint count = _counts[id].Dequeue();
        _taken -= count;
        _used += count;
        if (_used >= Size)
        {
            _used -= Size;
            _usedWrap = !_usedWrap;
        }

        InFlight--;
    }

    public override void CheckPublished()
    {
    }

    private bool Entries(ulong table, uint entries, List<Buffer> buffers)
    {
        for (uint i = 0; i < entries && i <= Size; i++)
        {
            ulong at = table + (i * 16);
            ushort flags = Read<ushort>(at + 14);
            if ((flags & Indirect) != 0)
            {
                return false;
            }

            buffers.Add(new Buffer(Read<ulong>(at), Read<uint>(at + 8), (flags & Write) != 0));
        }

        return true;
    }

    private bool IsAvailable(ushort flags) => (((flags >> 7) & 1) != 0) == _wrap && (((flags >> 15) & 1) != 0) != _wrap;
}

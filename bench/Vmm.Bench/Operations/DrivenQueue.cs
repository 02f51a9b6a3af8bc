using Vmm.Devices.Memory;
using Vmm.Devices.Virtio;
using Vmm.Tests.Shared;

namespace Vmm.Bench.Operations;

/// <summary>A virtqueue and the least of a driver: it offers the same request for ever.</summary>
internal sealed class DrivenQueue : IVirtqueueOwner, IDisposable
{
    public const int Size = 256;
    private const ulong Descriptors = 0x1_0000, DriverArea = 0x2_0000, DeviceArea = 0x3_0000, Table = 0x4_0000;
    private const ulong Data = 0x8_0000;
    private const uint BufferLength = 512;
    private const ushort Next = 1, Write = 2, Indirect = 4, Avail = 1 << 7, Used = 1 << 15;

    private readonly TestMemory _memory = new(1 << 20);
    private readonly bool _packed;
    private readonly int _descriptors;
    private readonly bool _indirect;
    private ushort _availIdx;
    private uint _position;
    private bool _wrap = true;

    /// <param name="packed">The ring's format: packed (virtio 1.2, section 2.8) or split (2.7).</param>
    /// <param name="descriptors">Of each request; a power of two up to <see cref="Size"/>. The last is writable.</param>
    /// <param name="indirect">In a table of their own.</param>
    public DrivenQueue(bool packed, int descriptors, bool indirect)
    {
        (_packed, _descriptors, _indirect) = (packed, descriptors, indirect);
        Queue = packed ? new VirtqueuePacked(this, _memory.Memory, 0) : new VirtqueueSplit(this, _memory.Memory, 0);
        var configuration = new QueueConfiguration(Size)
        {
            DescriptorArea = new GuestAddress(Descriptors),
            DriverArea = new GuestAddress(DriverArea),
            DeviceArea = new GuestAddress(DeviceArea),
        };

        // What Linux negotiates.
        string? fault = Queue.Enable(configuration, VirtioFeatures.IndirectDescriptors | VirtioFeatures.EventIndex);
        if (fault is not null)
        {
            throw new InvalidOperationException(fault);
        }

        if (indirect)
        {
            WriteChain(Table, descriptors, inTable: true);
        }
        else if (!packed)
        {
            WriteChain(Descriptors, descriptors, inTable: false);
        }

        if (indirect && !packed)
        {
            WriteSplit(Descriptors, Table, (uint)descriptors * 16, Indirect, 0);
        }

        Queue.Run();
    }

    public Virtqueue Queue { get; }

    public IoVector[] Vectors { get; } = new IoVector[Size];

    public long Interrupts { get; private set; }

    /// <summary>Makes the request available once more.</summary>
    public void Offer()
    {
        if (_packed)
        {
            OfferPacked();
            return;
        }

        // Every entry of the avail ring is head 0, as the memory came.
        _availIdx++;
        _memory.Memory.Write(new GuestAddress(DriverArea + 2), _availIdx);
    }

    /// <summary>Takes the next request; there must be one.</summary>
    public DescriptorChain Pop()
    {
        if (!Queue.TryPop(Vectors, out DescriptorChain chain) || chain.Count != _descriptors)
        {
            throw new InvalidOperationException($"the queue lost a request: popped {chain.Count} of {_descriptors} vectors");
        }

        return chain;
    }

    public void Interrupt(Virtqueue queue) => Interrupts++;

    public void Broken(Virtqueue queue, string fault) => throw new InvalidOperationException(fault);

    public void Drained(Virtqueue queue) => throw new InvalidOperationException("the queue stopped");

    public void Dispose()
    {
        Queue.Stop();
        _memory.Dispose();
    }

    private void OfferPacked()
    {
        int count = _indirect ? 1 : _descriptors;
        ushort avail = _wrap ? Avail : Used;
        for (int i = 0; i < count; i++)
        {
            ulong at = Descriptors + ((_position + (uint)i) * 16);
            ushort flags = _indirect ? Indirect : FlagsOf(i, count);
            WriteOne(at, _indirect ? Table : Data + ((ulong)i * BufferLength),
                _indirect ? (uint)_descriptors * 16 : BufferLength, 0, (ushort)(flags | avail));
        }

        _position += (uint)count;
        if (_position == Size)
        {
            _position = 0;
            _wrap = !_wrap;
        }
    }

    private void WriteChain(ulong table, int count, bool inTable)
    {
        for (int i = 0; i < count; i++)
        {
            ulong at = table + ((ulong)i * 16);
            if (_packed && inTable)
            {
                WriteOne(at, Data + ((ulong)i * BufferLength), BufferLength, 0, (ushort)(FlagsOf(i, count) & Write));
            }
            else
            {
                WriteSplit(at, Data + ((ulong)i * BufferLength), BufferLength, FlagsOf(i, count), (ushort)(i + 1));
            }
        }
    }

    private static ushort FlagsOf(int index, int count) => index == count - 1 ? Write : Next;

    private void WriteSplit(ulong at, ulong address, uint length, ushort flags, ushort next) =>
        WriteOne(at, address, length, flags, next);

    /// <summary>Both formats: address:64 length:32 and two times 16 bits.</summary>
    private void WriteOne(ulong at, ulong address, uint length, ushort third, ushort fourth)
    {
        _memory.Memory.Write(new GuestAddress(at), address);
        _memory.Memory.Write(new GuestAddress(at + 8), length | ((ulong)third << 32) | ((ulong)fourth << 48));
    }
}

using Vmm.Devices.Memory;

namespace Vmm.Devices.Virtio;

/// <summary>Takes the descriptors of one chain, in order, checks what holds for both ring formats, and resolves them
/// to addresses of this process.</summary>
internal unsafe ref struct VirtqueueCollector(GuestMemory memory, Span<IoVector> buffers, int budget)
{
    /// <summary>virtio 1.2, section 2.7.5.1 and 2.8.6: no chain is longer in total.</summary>
    private const ulong MostBytes = 1UL << 32;

    private readonly Span<IoVector> _buffers = buffers;
    private int _budget = budget;       // section 2.7.5.3.1: a chain is never longer than the queue; so no loops
    private int _count;
    private int _readable;
    private ulong _readableBytes;
    private ulong _bytes;
    private bool _writing;

    /// <summary>What is wrong, once an Add returned false.</summary>
    public string Fault { get; private set; } = "";

    /// <param name="address">Guest-physical, as the driver wrote it.</param>
    /// <param name="length">Bytes. Zero is allowed (no section forbids it) and contributes nothing.</param>
    /// <param name="writable">VIRTQ_DESC_F_WRITE.</param>
    public bool Add(ulong address, uint length, bool writable)
    {
        if (_budget-- == 0)
        {
            return Fail(QueueFault.TooLong);
        }

        if (writable)
        {
            if (!_writing)
            {
                _writing = true;
                _readable = _count;
                _readableBytes = _bytes;
            }
        }
        else if (_writing)
        {
            return Fail(QueueFault.ReadableAfterWritable);      // section 2.6.4.2 and 2.7.4.2
        }

        if (length == 0)
        {
            return true;
        }

        if (!memory.TryGetPointer(new GuestAddress(address), length, out byte* pointer))
        {
            return Fail(QueueFault.OutsideMemory);
        }

        _bytes += length;       // at most 2^15 times 2^32: no overflow
        if (_bytes > MostBytes)
        {
            return Fail(QueueFault.TooManyBytes);
        }

        _buffers[_count++] = new IoVector((nint)pointer, length);
        return true;
    }

    public bool Fail(string fault)
    {
        Fault = fault;
        return false;
    }

    public readonly DescriptorChain Finish(ushort id, int descriptors)
    {
        int readable = _writing ? _readable : _count;
        ulong readableBytes = _writing ? _readableBytes : _bytes;
        return new DescriptorChain(
            id, (ushort)descriptors, (ushort)readable, (ushort)(_count - readable), readableBytes, _bytes - readableBytes);
    }
}

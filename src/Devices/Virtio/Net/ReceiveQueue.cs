namespace Vmm.Devices.Virtio.Net;

/// <summary>Buffers of the guest that wait for frames: taken from the ring, in its order, and not yet given back.</summary>
internal sealed class ReceiveQueue
{
    /// <summary>A system call takes 1024 vectors (IOV_MAX), one of which is for overflow.</summary>
    private const int MostVectors = 1023;

    private readonly DescriptorChain[] _chains;
    private readonly IoVector[] _vectors;       // pinned
    private readonly int _queueSize;
    private int _firstChain;
    private int _chainCount;
    private int _firstVector;
    private int _vectorCount;

    public ReceiveQueue(int queueSize)
    {
        _queueSize = queueSize;
        _chains = new DescriptorChain[queueSize];
        _vectors = GC.AllocateUninitializedArray<IoVector>(MostVectors + queueSize + 1, pinned: true);
    }

    /// <summary>Was the backend asked for frames?</summary>
    public bool Wanted { get; set; }

    /// <summary>How many more frames are expected to be long.</summary>
    public int LongFrames { get; set; }

    /// <summary>Chains held.</summary>
    public int Count => _chainCount;

    /// <summary>Bytes that the held chains can take.</summary>
    public ulong Bytes { get; private set; }

    /// <summary>May another chain be added?</summary>
    public bool HasRoom => _vectorCount == 0 || _vectorCount + _queueSize <= MostVectors;

    /// <summary>Where they lie.</summary>
    public ReadOnlySpan<IoVector> Vectors => _vectors.AsSpan(_firstVector, _vectorCount);

    /// <summary>The held vectors, and one more behind them.</summary>
    public ReadOnlySpan<IoVector> VectorsAnd(IoVector last)
    {
        _vectors[_firstVector + _vectorCount] = last;
        return _vectors.AsSpan(_firstVector, _vectorCount + 1);
    }

    /// <summary>Where the vectors of the next chain go, room for any.</summary>
    public Span<IoVector> Room()
    {
        if (_vectors.Length - 1 - _firstVector - _vectorCount < _queueSize || _firstChain + _chainCount == _chains.Length)
        {
            Vectors.CopyTo(_vectors);
            _chains.AsSpan(_firstChain, _chainCount).CopyTo(_chains);
            _firstVector = _firstChain = 0;
        }

        return _vectors.AsSpan(_firstVector + _vectorCount, _queueSize);
    }

    /// <summary>Holds a chain whose vectors were put into <see cref="Room"/>. Only its writable ones matter.</summary>
    public void Add(in DescriptorChain chain)
    {
        if (chain.Readable != 0)
        {
            int at = _firstVector + _vectorCount;
            _vectors.AsSpan(at + chain.Readable, chain.Writable).CopyTo(_vectors.AsSpan(at));
        }

        _vectorCount += chain.Writable;
        Bytes += chain.WritableBytes;
        _chains[_firstChain + _chainCount++] = chain;
    }

    /// <summary>How many chains a frame of so many bytes fills.</summary>
    public int CountFor(ulong length)
    {
        int count = 1;
        for (ulong room = _chains[_firstChain].WritableBytes; room < length; count++)
        {
            room += _chains[_firstChain + count].WritableBytes;
        }

        return count;
    }

    /// <summary>Removes and returns the first chain.</summary>
    public DescriptorChain Take()
    {
        DescriptorChain chain = _chains[_firstChain++];
        _chainCount--;
        _firstVector += chain.Writable;
        _vectorCount -= chain.Writable;
        Bytes -= chain.WritableBytes;
        if (_chainCount == 0)
        {
            _firstChain = _firstVector = 0;
        }

        return chain;
    }

    /// <summary>Puts all back into the queue, the one taken last first.</summary>
    public void Return(Virtqueue queue)
    {
        while (_chainCount > 0)
        {
            queue.ReturnToQueue(_chains[_firstChain + --_chainCount]);
        }

        _firstChain = _firstVector = _vectorCount = 0;
        Bytes = 0;
    }

    /// <summary>Completes all, unused, because the queue is being stopped.</summary>
    public void Drop(Virtqueue queue)
    {
        while (_chainCount > 0)
        {
            queue.Complete(Take(), 0);
        }
    }
}

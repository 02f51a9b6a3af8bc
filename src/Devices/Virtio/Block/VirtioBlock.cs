using System.Runtime.InteropServices;
using System.Text;
using Vmm.Devices.State;

namespace Vmm.Devices.Virtio.Block;

/// <summary>A disk (virtio 1.2, section 5.2) over an <see cref="IDiskBackend"/>.</summary>
/// <remarks>Requests are kept in slots that are allocated with the device, vectors included, so that nothing is allocated per
/// request; while all slots are taken the queue waits. Data moves between guest memory and the backend
/// without a copy.</remarks>
public sealed partial class VirtioBlock : VirtioDevice, IDiskCompletions
{
    private const uint DeviceIdBlock = 2;
    private const int HeaderBytes = 16;
    private const string NoHeader = "a request is shorter than its header";
    private const string NoStatus = "a request has no room for its status";

    private IDiskBackend _backend;
    private readonly bool _readOnly;
    private readonly byte[] _config = new byte[BlockConfig.Length];
    private readonly byte[] _serial = new byte[20];
    private readonly byte _initialWriteback;
    private readonly BlockRequest[] _requests;
    private readonly int[] _free;           // a stack: the slot used last is most likely still in the CPU's cache
    private readonly IoVector[] _vectors;   // pinned; a stretch for each slot
    private readonly nint _vectorsAddress;
    private readonly int _vectorsPerSlot;
    private readonly bool[] _waiting;       // queues that ran out of slots
    private readonly long[] _sent = new long[Enum.GetValues<DiskOperation>().Length];
    private ulong _sectors;
    private int _freeCount;
    private bool _processing;
    private bool _anyWaiting;

    /// <param name="name">The name in messages and statistics: <c>virtio-blk0</c>.</param>
    /// <param name="backend">Where the bytes are.</param>
    /// <param name="options">What the guest sees.</param>
    /// <exception cref="ArgumentException">The options do not fit the backend; the message is for the user.</exception>
    public VirtioBlock(string name, IDiskBackend backend, BlockOptions options)
        : base(name, DeviceIdBlock, Checked(backend, options), Sizes(options))
    {
        _backend = backend;
        _sectors = backend.Length / BlockConfig.SectorBytes;
        _readOnly = options.ReadOnly || backend.IsReadOnly;
        Encoding.ASCII.GetBytes(options.Serial, _serial);
        BlockConfig.Fill(_config, options, backend);
        _initialWriteback = _config[BlockConfig.WritebackOffset];

        int slots = Math.Min(options.MaxInFlight, options.Queues * options.QueueSize);
        _requests = new BlockRequest[slots];
        _waiting = new bool[options.Queues];
        _free = new int[slots];
        for (int i = 0; i < slots; i++)
        {
            _free[i] = slots - 1 - i;
        }

        _freeCount = slots;
        _vectorsPerSlot = options.QueueSize;

        // Not zeroed: pages of slots that are never used never become resident.
        _vectors = GC.AllocateUninitializedArray<IoVector>(slots * _vectorsPerSlot, pinned: true);
        _vectorsAddress = Marshal.UnsafeAddrOfPinnedArrayElement(_vectors, 0);
        backend.Attach(this);
    }

    /// <inheritdoc/>
    public override int ConfigLength => BlockConfig.Length;

    /// <summary>Requests that went to the backend so far; for statistics. Any thread.</summary>
    public long Sent(DiskOperation operation) => Volatile.Read(ref _sent[(int)operation]);

    /// <inheritdoc/>
    public override bool HasRequests
    {
        get
        {
            lock (Gate)
            {
                return _freeCount < _requests.Length;
            }
        }
    }

    /// <summary>Must what a request changes be durable when it completes? Section 5.2.6.2: yes, when the driver took
    /// neither FLUSH nor CONFIG_WCE, or chose writethrough.</summary>
    private bool IsWritethrough => _config[BlockConfig.WritebackOffset] == 0;

    /// <summary>The backend has become longer: the driver is told (section 5.2.4). On the event loop's thread.</summary>
    public void Grow()
    {
        lock (Gate)
        {
            ulong sectors = _backend.Length / BlockConfig.SectorBytes;
            if (sectors > _sectors)
            {
                _sectors = sectors;
                BlockConfig.SetCapacity(_config, sectors);
                ConfigChanged();
            }
        }
    }

    /// <summary>Another backend takes the place of the one it has, with what may be other content. While no request is in flight and the
    /// machine stands still.</summary>
    /// <param name="backend">A backend with the same length and abilities.</param>
    /// <exception cref="InvalidOperationException">Requests are in flight.</exception>
    public void Replace(IDiskBackend backend)
    {
        lock (Gate)
        {
            if (_freeCount < _requests.Length)
            {
                throw new InvalidOperationException($"{Name}: requests are in flight");
            }

            _backend = backend;
            _sectors = backend.Length / BlockConfig.SectorBytes;
            BlockConfig.SetCapacity(_config, _sectors);
            backend.Attach(this);
        }
    }

    /// <inheritdoc/>
    public void Completed(ReadOnlySpan<DiskCompletion> completions)
    {
        lock (Gate)
        {
            foreach (DiskCompletion completion in completions)
            {
                ref BlockRequest request = ref _requests[completion.Tag];
                if (completion.Result != DiskResult.Ok)
                {
                    request.Result = completion.Result;
                }

                if (--request.Parts == 0)
                {
                    Finish(completion.Tag, request.Result switch
                    {
                        DiskResult.Ok => BlockStatus.Ok,
                        DiskResult.Unsupported => BlockStatus.Unsupported,
                        _ => BlockStatus.IoError,
                    });
                }
            }

            if (!_processing)       // else this was called from within Submit, and ProcessQueue continues with the queue
            {
                PublishAll();
                ServeWaiting();
            }
        }
    }

    /// <inheritdoc/>
    protected internal override void ReadConfig(int offset, Span<byte> data) =>
        _config.AsSpan(offset, data.Length).CopyTo(data);

    /// <inheritdoc/>
    protected internal override void WriteConfig(int offset, ReadOnlySpan<byte> data)
    {
        if (offset == BlockConfig.WritebackOffset && data.Length == 1
            && (NegotiatedFeatures & BlockConfig.ConfigWce) != 0)
        {
            _config[offset] = (byte)(data[0] & 1);
        }
    }

    /// <inheritdoc/>
    protected internal override bool AcceptFeatures(ulong features)
    {
        // Without FLUSH writeback starts at 0, with or without CONFIG_WCE: the driver could not make writes durable.
        _config[BlockConfig.WritebackOffset] = (byte)((features & BlockConfig.Flush) != 0 ? 1 : 0);
        return true;
    }

    /// <inheritdoc/>
    protected internal override void Reset() => _config[BlockConfig.WritebackOffset] = _initialWriteback;

    /// <inheritdoc/>
    protected internal override void StopQueue(Virtqueue queue) => _waiting[queue.Index] = false;

    /// <inheritdoc/>
    protected internal override void Save(StateWriter state)
    {
        base.Save(state);
        state.Write("config", _config);
    }

    /// <inheritdoc/>
    protected internal override void Load(StateReader state)
    {
        base.Load(state);
        byte[] config = state.Bytes("config", BlockConfig.Length, BlockConfig.Length);
        byte writeback = config[BlockConfig.WritebackOffset];
        _config[BlockConfig.WritebackOffset] = (byte)(writeback & 1);
        if (!config.AsSpan().SequenceEqual(_config))
        {
            ulong sectors = BitConverter.ToUInt64(config);
            throw state.Refuse("config", sectors == _sectors
                ? "describes another disk (block size, queues or what it can do)"
                : $"describes a disk of {sectors} sectors; this one has {_sectors}");
        }
    }

    /// <inheritdoc/>
    protected override void ProcessQueue(Virtqueue queue)
    {
        if (_processing)
        {
            return;
        }

        _processing = true;
        queue.DisableNotify();
        int budget = queue.Size;
        do
        {
            while (budget > 0 && _freeCount > 0)
            {
                int slot = _free[_freeCount - 1];
                Span<IoVector> buffers = _vectors.AsSpan(slot * _vectorsPerSlot, _vectorsPerSlot);
                if (!queue.TryPop(buffers, out DescriptorChain chain))
                {
                    break;
                }

                budget--;
                _freeCount--;
                Start(slot, queue, chain, buffers);
            }

            // The backend may complete requests of any queue before this returns; then there are free slots again.
            _backend.Submit();
            PublishAll();
            if (_freeCount == 0)
            {
                _waiting[queue.Index] = true;
                _anyWaiting = true;
                break;
            }

            if (budget == 0)
            {
                KickLater(queue);       // other queues are served first
                break;
            }
        }
        while (queue.EnableNotify());

        _processing = false;
        if (_anyWaiting && _freeCount > 0)
        {
            KickWaiting();
        }
    }

    private static ulong Checked(IDiskBackend backend, BlockOptions options)
    {
        BlockConfig.Check(options, backend);
        return BlockConfig.Features(options, backend);
    }

    private static ushort[] Sizes(BlockOptions options)
    {
        var sizes = new ushort[options.Queues];
        Array.Fill(sizes, options.QueueSize);
        return sizes;
    }

    /// <summary>Goes on with queues that ran out of slots.</summary>
    private void ServeWaiting()
    {
        if (!_anyWaiting)
        {
            return;
        }

        _anyWaiting = false;
        for (int i = 0; i < _waiting.Length && _freeCount > 0; i++)
        {
            if (_waiting[i])
            {
                _waiting[i] = false;
                if (TryGetRunning(i, out Virtqueue? queue))
                {
                    ProcessQueue(queue);
                }
            }
        }

        _anyWaiting = Array.IndexOf(_waiting, true) >= 0;
    }

    /// <summary>Serves waiting queues again: slots became free while another queue was served.</summary>
    private void KickWaiting()
    {
        _anyWaiting = false;
        for (int i = 0; i < _waiting.Length; i++)
        {
            if (_waiting[i])
            {
                _waiting[i] = false;
                Configuration.Kick(i);
            }
        }
    }

    /// <summary>Gives the request back to the driver and its slot to the next.</summary>
    private void Finish(int slot, BlockStatus status)
    {
        ref BlockRequest request = ref _requests[slot];
        _free[_freeCount++] = slot;
        if (request.Queue.HasRings)     // else a reset took the buffers away meanwhile
        {
            VirtqueueBuffers.Store(request.Status, (byte)status);
        }

        // On failure it is unknown how much of the data was written, so used.len covers only what was certainly written from
        // the start (section 2.7.8.2): the status byte if there is nothing else, otherwise nothing.
        uint written = status == BlockStatus.Ok || request.Chain.WritableBytes == 1 ? request.Written : 0;
        request.Queue.Complete(request.Chain, written);
    }
}

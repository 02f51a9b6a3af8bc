using System.Runtime.InteropServices;
using Vmm.Devices.Virtio;
using Vmm.Devices.Virtio.Block;
using Vmm.Host;

namespace Vmm.Backends.Disks.Qcow2;

/// <summary>A disk in a qcow2 image.</summary>
/// <remarks>
/// A request is done in steps, each over clusters of the same kind; data is transferred asynchronously as with a raw file, the
/// image's own tables are read and written synchronously on the event loop. A step that changes the place of clusters locks
/// them exclusively; steps that have to wait are in <c>_parked</c>.
///
/// A crash leaves a consistent image, at worst with leaked clusters: changes of the tables stay in memory until a flush (the
/// guest's, or because the caches are full) writes them in an order in which everything is durable before what refers to it. See
/// <c>Qcow2DiskFlush.cs</c>.
/// </remarks>
internal sealed partial class Qcow2Disk : DiskNode, IFileIoOwner, IDiskCompletions
{
    private const int FlushTag = -1;
    private const int ScanTag = -2;
    private const int BounceBytesInAll = 8 << 20;
    private const int MaxFull = 50;
    private const int PageBytes = 4096;

    private readonly BlockFile _file;
    private readonly Qcow2Header _header;
    private readonly DiskNode? _backing;
    private readonly bool _discards;
    private readonly HashSet<ulong> _metadata = [];
    private readonly Qcow2Refcounts? _refcounts;
    private readonly Qcow2Map _map;
    private readonly Qcow2Decompressor _decompressor;
    private readonly List<Qcow2Request> _requests = [];
    private readonly Stack<Qcow2Request> _free = new();
    private readonly List<Qcow2Request> _steps = [];
    private readonly Stack<byte[]> _bounces = new();
    private readonly int _clusterBits;
    private readonly ulong _clusterSize;
    private List<Qcow2Request> _parked = [];
    private List<Qcow2Request> _retried = [];
    private bool _retry;
    private bool _pumping;
    private int _bouncesLeft;
    private ulong _freshFrom;
    private ulong _length;

    /// <summary>The result of one phase of a step.</summary>
    private enum Outcome
    {
        /// <summary>Continue with the next phase.</summary>
        Go,

        /// <summary>I/O was started, and continues the step when it completes.</summary>
        Wait,

        /// <summary>It conflicts with another step: try again later.</summary>
        Park,

        /// <summary>The tables' caches are full: flush, then try again.</summary>
        ParkForFlush,

        Fail,
    }

    /// <param name="file">Owned from now on, as is <paramref name="backing"/>.</param>
    /// <param name="backing">Has the content of unallocated clusters; null for zeros.</param>
    /// <param name="discards">Discards free space.</param>
    /// <exception cref="UsageException">The image is damaged.</exception>
    public Qcow2Disk(BlockFile file, Qcow2Header header, DiskNode? backing, bool discards = true)
    {
        _file = file;
        _header = header;
        _length = header.Size;
        _backing = backing;
        _discards = discards;
        _clusterBits = header.ClusterBits;
        _clusterSize = header.ClusterSize;
        _bouncesLeft = Math.Clamp(BounceBytesInAll / (2 * (int)_clusterSize), 2, 32);
        _freshFrom = AlignUp(file.Length);
        _decompressor = new Qcow2Decompressor(file, header);
        AddMetadata(0, _clusterSize);
        AddMetadata(header.L1Offset, (ulong)header.L1Entries * 8);
        AddMetadata(header.RefcountTableOffset, header.RefcountTableClusters * _clusterSize);
        _refcounts = file.IsReadOnly ? null : new Qcow2Refcounts(file, header, _metadata, this, ScanTag);
        _map = new Qcow2Map(file, header, _refcounts, _metadata);
        if (_refcounts is not null)
        {
            PrepareForWriting();
        }

        backing?.Attach(this);
        file.AddOwner(this);
        _flushIo = new FileIo(this, FlushTag);
    }

    public override ulong Length => _length;

    public override BlockFile File => _file;

    public override bool IsReadOnly => _file.IsReadOnly;

    public override bool CanDiscard => _discards && !IsReadOnly;

    public override bool CanWriteZeroes => !IsReadOnly;

    public override void Enqueue(in DiskRequest request)
    {
        if (!_free.TryPop(out Qcow2Request? slot))
        {
            slot = new Qcow2Request(this, _requests.Count);
            _requests.Add(slot);
        }

        slot.Begin(request);
        if (request.Operation == DiskOperation.Flush)
        {
            JoinFlush(slot);
        }
        else
        {
            Run(slot);
        }
    }

    public override void Submit()
    {
        Pump();
        _file.Submit();
        _backing?.Submit();
        Deliver();
    }

    public void Finished(FileIo io)
    {
        if (io.Tag == FlushTag)
        {
            ContinueFlush(io.Errno);
        }
        else if (io.Tag == ScanTag)
        {
            _refcounts!.ScanFinished(io.Errno);
        }
        else
        {
            Moved(_requests[io.Tag], io.Errno == 0);
        }
    }

    /// <summary>The end of a batch of the file's operations.</summary>
    void IFileIoOwner.Deliver() => Submit();

    /// <summary>Reads of the backing disk.</summary>
    public void Completed(ReadOnlySpan<DiskCompletion> completions)
    {
        foreach (DiskCompletion completion in completions)
        {
            Moved(_requests[completion.Tag], completion.Result == DiskResult.Ok);
        }

        Submit();
    }

    public override bool Flush()
    {
        WriteTables();
        return !IsMetadataDirty && !_broken && (IsReadOnly || _file.TryFlush());
    }

    public override void Close()
    {
        WriteTables();
        bool lost = IsMetadataDirty;
        _backing?.Close();
        if (lost)
        {
            throw new HostException(
                $"{_file.Path}: the image's tables could not all be written; what the guest flushed last is intact");
        }
    }

    public override void Dispose()
    {
        _file.RemoveOwner(this);
        _file.Dispose();
        _backing?.Dispose();
        _decompressor.Dispose();
    }

    private bool IsBusy => _free.Count < _requests.Count || _flushing || _refcounts?.IsScanning == true;

    private void WriteTables()
    {
        Settle();

        // Repeated: clusters that one flush frees are written as free by the next.
        for (int turn = 0; turn < 1000 && IsMetadataDirty && !_broken; turn++)
        {
            BeginFlush();
            Settle();
        }
    }

    private void Settle()
    {
        Submit();
        for (int turn = 0; turn < 1000 && IsBusy; turn++)
        {
            _file.Drain();
            Submit();
        }
    }

    private ulong AlignUp(ulong offset) => (offset + _clusterSize - 1) & ~(_clusterSize - 1);

    private void AddMetadata(ulong offset, ulong length)
    {
        for (ulong cluster = offset >> _clusterBits; cluster << _clusterBits < offset + length; cluster++)
        {
            if (!_metadata.Add(cluster))
            {
                throw Qcow2Header.Wrong(_file, $"damaged: two of its tables lie at {cluster << _clusterBits}");
            }
        }
    }

    private void PrepareForWriting()
    {
        // A writer that does not support a feature clears its autoclear bit, so that programs that do see that its data is stale.
        if (_header.Autoclear != 0 && !Qcow2Header.TryWriteFeatures(_file, Qcow2Format.AutoclearField, 0))
        {
            throw Qcow2Header.Wrong(_file, "its header cannot be written");
        }

        if (_header.IsDirty)
        {
            Qcow2Repair.Run(_file, _header, _map, _refcounts!, _metadata);
        }
    }

    /// <summary>Continues a request until it waits or is finished.</summary>
    private void Run(Qcow2Request request)
    {
        while (true)
        {
            Outcome outcome = request.Phase switch
            {
                Qcow2Phase.Next when request.Left == 0 => Outcome.Go,
                Qcow2Phase.Next => request.Disk.Operation switch
                {
                    DiskOperation.Read => BeginRead(request),
                    DiskOperation.Write => BeginWrite(request, request.Left, zeros: false),
                    _ => BeginZero(request),
                },
                Qcow2Phase.CopyHead => CopyHead(request),
                Qcow2Phase.CopyTail => CopyTail(request),
                Qcow2Phase.Writing => WriteNew(request),
                Qcow2Phase.Linking => Link(request),
                _ => Outcome.Fail,
            };
            switch (outcome)
            {
                case Outcome.Go when request.Phase == Qcow2Phase.Next && request.Left == 0:
                    End(request);
                    return;
                case Outcome.Go:
                    request.Full = 0;
                    continue;
                case Outcome.Wait:
                    return;
                case Outcome.ParkForFlush when request.Full++ < MaxFull && !_broken:
                    _parked.Add(request);
                    BeginFlush();
                    return;
                case Outcome.Park:
                    _parked.Add(request);
                    return;
                default:
                    Fail(request);
                    return;
            }
        }
    }

    /// <summary>The transfer of a step is finished.</summary>
    private void Moved(Qcow2Request request, bool ok)
    {
        if (!ok)
        {
            Fail(request);
            return;
        }

        switch (request.Phase)
        {
            case Qcow2Phase.CopyHead:
                request.Phase = Qcow2Phase.CopyTail;
                break;
            case Qcow2Phase.CopyTail:
                request.Phase = Qcow2Phase.Writing;
                break;
            case Qcow2Phase.Writing:
                request.WrittenTo = request.WritingTo;
                break;
            default:
                EndStep(request);
                break;
        }

        Run(request);
    }

    private void End(Qcow2Request request)
    {
        if (request.Disk.Operation != DiskOperation.Read && (request.Disk.Options & DiskOptions.Durable) != 0)
        {
            JoinFlush(request);
            return;
        }

        Release(request, DiskResult.Ok);
    }

    private void Release(Qcow2Request request, DiskResult result)
    {
        _free.Push(request);
        Complete(request.Disk.Tag, result);
    }

    private void Fail(Qcow2Request request)
    {
        if (request.NewCluster != 0)
        {
            for (ulong i = 0; i <= request.Last - request.First; i++)
            {
                _ = _refcounts!.TrySet(request.NewCluster + i, 0);      // nothing refers to it yet
            }
        }

        Unlock(request);
        Release(request, DiskResult.Error);
    }

    /// <summary>Finishes a step.</summary>
    private void EndStep(Qcow2Request request)
    {
        request.Done += request.StepLength;
        request.Phase = Qcow2Phase.Next;
        Unlock(request);
    }

    /// <summary>Vectors for a piece of the request's data, from its position on.</summary>
    /// <param name="length">Bytes wanted, and what the vectors describe.</param>
    private static (nint Vectors, int Count) Slice(Qcow2Request request, ref ulong length)
    {
        if (request.Done == 0 && length == request.Disk.Length)
        {
            return (request.Disk.Vectors, request.Disk.VectorCount);
        }

        int count = IoVectors.Slice(
            request.Disk.Vectors, request.Disk.VectorCount, request.Done, ref length, request.Vectors);
        return (request.VectorsAddress, count);
    }

    /// <summary>An address in pinned memory, counted from its first page on: O_DIRECT wants it aligned.</summary>
    private static nint AddressOf(byte[] pinned, ulong offset) =>
        Marshal.UnsafeAddrOfPinnedArrayElement(pinned, IndexOf(pinned, offset));

    private static int IndexOf(byte[] pinned, ulong offset)
    {
        nint start = Marshal.UnsafeAddrOfPinnedArrayElement(pinned, 0);
        return (int)(-start & (PageBytes - 1)) + (int)offset;
    }
}

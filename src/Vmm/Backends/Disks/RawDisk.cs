using System.Runtime.InteropServices;
using Vmm.Devices.Virtio;
using Vmm.Devices.Virtio.Block;
using Vmm.Host;

namespace Vmm.Backends.Disks;

/// <summary>A disk whose bytes are the bytes of a file.</summary>
internal sealed class RawDisk : DiskNode, IFileIoOwner
{
    private const int ZeroVectors = 16;
    private const uint ZeroVectorBytes = 64 * 1024;

    private readonly BlockFile _file;
    private readonly bool _discards;
    private readonly bool _pads;
    private readonly List<Request> _requests = [];
    private readonly Stack<Request> _free = new();
    private AnonymousMemory? _zeros;
    private ulong _length;
    private bool _cannotZero;

    /// <param name="file">Its length is the disk's; owned from now on.</param>
    /// <param name="discards">Pass discards on to the file (discard=on).</param>
    /// <param name="pads">Pad the last sector with zeros, for a backing file.</param>
    public RawDisk(BlockFile file, bool discards = true, bool pads = false)
    {
        _file = file;
        _discards = discards;
        _pads = pads;
        _length = pads ? (file.Length + 511) / 512 * 512 : file.Length;
        file.AddOwner(this);
    }

    public override ulong Length => _length;

    public override BlockFile File => _file;

    public override bool IsReadOnly => _file.IsReadOnly;

    public override bool CanDiscard => _discards && !IsReadOnly;

    public override bool CanWriteZeroes => !IsReadOnly;

    public override void Enqueue(in DiskRequest request)
    {
        if (request.Operation == DiskOperation.Flush && _file.IgnoresFlush)
        {
            Complete(request.Tag, DiskResult.Ok);
            return;
        }

        if (!_free.TryPop(out Request? slot))
        {
            slot = new Request(this, _requests.Count);
            _requests.Add(slot);
        }

        slot.Disk = request;
        slot.Zeroed = 0;
        slot.Syncing = false;
        bool durable = (request.Options & DiskOptions.Durable) != 0 && !_file.IgnoresFlush;
        slot.SyncAfter = durable && request.Operation is (DiskOperation.Discard or DiskOperation.WriteZeroes);
        switch (request.Operation)
        {
            case DiskOperation.Read:
                slot.Io.Prepare(
                    FileOperation.Read, request.Offset, request.Length, request.Vectors, request.VectorCount);
                slot.Io.ZeroPastEnd = _pads;
                break;
            case DiskOperation.Write:
                slot.Io.Prepare(
                    FileOperation.Write, request.Offset, request.Length, request.Vectors, request.VectorCount,
                    durable ? LibC.RWF_DSYNC : 0);
                break;
            case DiskOperation.Flush:
                slot.Io.PrepareSync();
                break;
            case DiskOperation.Discard:
                if (!TryPrepareDiscard(slot))
                {
                    _free.Push(slot);
                    Complete(request.Tag, DiskResult.Ok);
                    return;
                }

                break;
            case DiskOperation.WriteZeroes when _cannotZero || (request.Offset | request.Length) % _file.AllocationUnit != 0:
                PrepareZeros(slot);
                break;
            default:
                // A hole reads as zero; without the unmap flag the space stays allocated.
                bool unmap = _discards && (request.Options & DiskOptions.Unmap) != 0;
                slot.Io.PrepareAllocate(
                    LibC.FALLOC_FL_KEEP_SIZE | (unmap ? LibC.FALLOC_FL_PUNCH_HOLE : LibC.FALLOC_FL_ZERO_RANGE),
                    request.Offset,
                    request.Length);
                break;
        }

        _file.Start(slot.Io);
    }

    public override string? Grow(ulong length)
    {
        if (_file.Grow(length) is { } problem)
        {
            return problem;
        }

        _length = length;
        return null;
    }

    public override void Submit()
    {
        _file.Submit();
        Deliver();
    }

    public void Finished(FileIo io)
    {
        Request slot = _requests[io.Tag];
        int errno = io.Errno;
        if (slot.Disk.Operation == DiskOperation.WriteZeroes && !slot.Syncing)
        {
            if (io.Operation == FileOperation.Allocate && errno == ErrnoException.EOPNOTSUPP)
            {
                _cannotZero = true;     // the file system does not support it: write zeros
                errno = 0;
                slot.Zeroed = 0;
            }
            else if (io.Operation == FileOperation.Allocate)
            {
                slot.Zeroed = slot.Disk.Length;
            }

            if (errno == 0 && slot.Zeroed < slot.Disk.Length)
            {
                PrepareZeros(slot);
                _file.Start(io);
                return;
            }
        }

        if (errno == 0 && slot.SyncAfter && !slot.Syncing)
        {
            slot.Syncing = true;
            io.PrepareSync();
            _file.Start(io);
            return;
        }

        _free.Push(slot);
        Complete(slot.Disk.Tag, errno);
    }

    public override bool Flush() => IsReadOnly || _file.TryFlush();

    public override void Close() => _file.Drain();

    public override void Dispose()
    {
        _file.RemoveOwner(this);
        _file.Dispose();
        _zeros?.Dispose();
    }

    /// <summary>A discard is only a hint: of a block device only whole sectors are discarded.</summary>
    /// <returns>False: there is no whole one.</returns>
    private bool TryPrepareDiscard(Request slot)
    {
        ulong unit = _file.AllocationUnit;
        ulong from = (slot.Disk.Offset + unit - 1) / unit * unit;
        ulong to = (slot.Disk.Offset + slot.Disk.Length) / unit * unit;
        if (from >= to)
        {
            return false;
        }

        slot.Io.PrepareAllocate(LibC.FALLOC_FL_PUNCH_HOLE | LibC.FALLOC_FL_KEEP_SIZE, from, to - from);
        return true;
    }

    /// <summary>The next part of a range that zeros must be written to.</summary>
    private void PrepareZeros(Request slot)
    {
        _zeros ??= new AnonymousMemory(ZeroVectorBytes, "a disk needs a page of zeros");
        slot.ZeroVectors ??= GC.AllocateArray<IoVector>(ZeroVectors, pinned: true);
        ulong length = Math.Min(slot.Disk.Length - slot.Zeroed, ZeroVectors * ZeroVectorBytes);
        int count = 0;
        for (ulong left = length; left > 0; count++)
        {
            ulong part = Math.Min(left, ZeroVectorBytes);
            slot.ZeroVectors[count] = new IoVector(_zeros.Start, (nuint)part);
            left -= part;
        }

        slot.Io.Prepare(
            FileOperation.Write,
            slot.Disk.Offset + slot.Zeroed,
            length,
            Marshal.UnsafeAddrOfPinnedArrayElement(slot.ZeroVectors, 0),
            count);
        slot.Zeroed += length;
    }

    private sealed class Request
    {
        public Request(RawDisk owner, int index) => Io = new FileIo(owner, index);

        public FileIo Io { get; }

        public DiskRequest Disk { get; set; }

        /// <summary>Bytes that zeros were written to, including the write in flight.</summary>
        public ulong Zeroed { get; set; }

        /// <summary>Pinned; null until it is needed.</summary>
        public IoVector[]? ZeroVectors { get; set; }

        public bool SyncAfter { get; set; }

        public bool Syncing { get; set; }
    }
}

using System.Buffers.Binary;

namespace Vmm.Devices.Virtio.Block;

/// <summary>From a chain to requests for the backend (virtio 1.2, section 5.2.6).</summary>
public sealed partial class VirtioBlock
{
    private enum BlockStatus : byte
    {
        Ok = 0,             // VIRTIO_BLK_S_OK
        IoError = 1,        // VIRTIO_BLK_S_IOERR
        Unsupported = 2,    // VIRTIO_BLK_S_UNSUPP
    }

    private enum RequestType : uint
    {
        In = 0,             // VIRTIO_BLK_T_IN
        Out = 1,            // VIRTIO_BLK_T_OUT
        Flush = 4,          // VIRTIO_BLK_T_FLUSH
        GetId = 8,          // VIRTIO_BLK_T_GET_ID
        Discard = 11,       // VIRTIO_BLK_T_DISCARD
        WriteZeroes = 13,   // VIRTIO_BLK_T_WRITE_ZEROES
    }

    /// <summary>Starts or answers one request: struct virtio_blk_req, a header of type, reserved and sector to read, data
    /// either way, and a status byte to write at the very end.</summary>
    private void Start(int slot, Virtqueue queue, in DescriptorChain chain, Span<IoVector> buffers)
    {
        ref BlockRequest request = ref _requests[slot];
        request.Queue = queue;
        request.Chain = chain;
        request.Written = 1;
        request.Parts = 0;
        request.Result = DiskResult.Ok;

        Span<byte> header = stackalloc byte[HeaderBytes];
        Span<IoVector> readable = buffers[..chain.Readable];
        Span<IoVector> writable = buffers.Slice(chain.Readable, chain.Writable);
        if (chain.WritableBytes == 0 || VirtqueueBuffers.CopyFrom(readable, header) != HeaderBytes)
        {
            _free[_freeCount++] = slot;
            queue.Refuse(chain.WritableBytes == 0 ? NoStatus : NoHeader);
            return;
        }

        writable = writable[..VirtqueueBuffers.TakeLast(writable, out request.Status)];
        int dataOut = VirtqueueBuffers.Skip(readable, HeaderBytes);
        var type = (RequestType)BinaryPrimitives.ReadUInt32LittleEndian(header);
        ulong sector = BinaryPrimitives.ReadUInt64LittleEndian(header[8..]);
        BlockStatus? answer = type switch
        {
            RequestType.In =>
                Transfer(slot, DiskOperation.Read, sector, chain.WritableBytes - 1, chain.Readable, writable.Length),
            RequestType.Out when _readOnly => BlockStatus.IoError,
            RequestType.Out =>
                Transfer(slot, DiskOperation.Write, sector, chain.ReadableBytes - HeaderBytes, dataOut, chain.Readable - dataOut),
            RequestType.Flush => Send(slot, new DiskRequest(DiskOperation.Flush, slot, 0, 0, 0, 0, DiskOptions.None)),
            RequestType.GetId => GetId(slot, writable),
            RequestType.Discard => Ranges(slot, DiskOperation.Discard, BlockConfig.Discard, readable[dataOut..], chain),
            RequestType.WriteZeroes => Ranges(slot, DiskOperation.WriteZeroes, BlockConfig.WriteZeroes, readable[dataOut..], chain),
            _ => BlockStatus.Unsupported,
        };
        if (answer is BlockStatus status)
        {
            Finish(slot, status);
        }
    }

    private BlockStatus? Transfer(int slot, DiskOperation operation, ulong sector, ulong bytes, int first, int count)
    {
        if (bytes % BlockConfig.SectorBytes != 0 || !IsOnDisk(sector, bytes / BlockConfig.SectorBytes))
        {
            return BlockStatus.IoError;
        }

        if (operation == DiskOperation.Read)
        {
            // used.len has 32 bits; a read of 2^32 - 512 bytes and the status still fit.
            _requests[slot].Written = (uint)Math.Min(bytes + 1, uint.MaxValue);
        }

        if (bytes == 0)
        {
            return BlockStatus.Ok;
        }

        nint vectors = _vectorsAddress + (nint)(((long)slot * _vectorsPerSlot) + first) * IoVectorBytes;
        return Send(slot, new DiskRequest(
            operation, slot, sector * BlockConfig.SectorBytes, bytes, vectors, count,
            operation == DiskOperation.Write ? Durability : DiskOptions.None));
    }

    private BlockStatus? Send(int slot, in DiskRequest request)
    {
        _requests[slot].Parts++;
        _sent[(int)request.Operation]++;
        _backend.Enqueue(request);
        return null;
    }

    private BlockStatus? GetId(int slot, ReadOnlySpan<IoVector> writable)
    {
        _requests[slot].Written = (uint)VirtqueueBuffers.CopyTo(writable, _serial) + 1;
        return BlockStatus.Ok;
    }

    /// <summary>struct virtio_blk_discard_write_zeroes: sector:64, num_sectors:32, flags:32, of which bit 0 is unmap. All
    /// ranges are checked before the first is acted on.</summary>
    private BlockStatus? Ranges(
        int slot, DiskOperation operation, ulong feature, ReadOnlySpan<IoVector> data, in DescriptorChain chain)
    {
        if ((OfferedFeatures & feature) == 0)
        {
            return _readOnly ? BlockStatus.IoError : BlockStatus.Unsupported;
        }

        Span<byte> ranges = stackalloc byte[BlockConfig.MaxRanges * RangeBytes];
        ulong bytes = chain.ReadableBytes - HeaderBytes;
        if (bytes == 0 || bytes % RangeBytes != 0 || bytes > (ulong)ranges.Length)
        {
            return BlockStatus.IoError;
        }

        ranges = ranges[..VirtqueueBuffers.CopyFrom(data, ranges)];
        for (int at = 0; at < ranges.Length; at += RangeBytes)
        {
            ReadRange(ranges[at..], out ulong sector, out uint sectors, out uint flags);
            if ((flags & (operation == DiskOperation.Discard ? ~0u : ~Unmap)) != 0)
            {
                return BlockStatus.Unsupported;     // section 5.2.6.2: unknown flags, and unmap of a discard
            }

            if (sectors > BlockConfig.MaxRangeSectors || !IsOnDisk(sector, sectors))
            {
                return BlockStatus.IoError;
            }
        }

        int parts = 0;
        for (int at = 0; at < ranges.Length; at += RangeBytes)
        {
            ReadRange(ranges[at..], out ulong sector, out uint sectors, out uint flags);
            if (sectors != 0)
            {
                parts++;
                Send(slot, new DiskRequest(
                    operation, slot, sector * BlockConfig.SectorBytes, (ulong)sectors * BlockConfig.SectorBytes, 0, 0,
                    Durability | ((flags & Unmap) != 0 ? DiskOptions.Unmap : DiskOptions.None)));
            }
        }

        return parts == 0 ? BlockStatus.Ok : null;
    }

    private static void ReadRange(ReadOnlySpan<byte> range, out ulong sector, out uint sectors, out uint flags)
    {
        sector = BinaryPrimitives.ReadUInt64LittleEndian(range);
        sectors = BinaryPrimitives.ReadUInt32LittleEndian(range[8..]);
        flags = BinaryPrimitives.ReadUInt32LittleEndian(range[12..]);
    }

    /// <summary>Written so that it cannot overflow: sectors are compared, never bytes.</summary>
    private bool IsOnDisk(ulong sector, ulong count) => sector <= _sectors && count <= _sectors - sector;

    private DiskOptions Durability => IsWritethrough ? DiskOptions.Durable : DiskOptions.None;

    private const int RangeBytes = 16;
    private const int IoVectorBytes = 16;
    private const uint Unmap = 1;
}

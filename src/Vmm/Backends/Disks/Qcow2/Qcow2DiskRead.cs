using Vmm.Devices.Virtio;
using Vmm.Devices.Virtio.Block;
using Vmm.Host;

namespace Vmm.Backends.Disks.Qcow2;

// Reads, also of the old content around a partial write to new clusters.
internal sealed partial class Qcow2Disk
{
    /// <summary>The kind of a map entry.</summary>
    private enum Kind
    {
        /// <summary>Reads as zero.</summary>
        Zero,

        /// <summary>The data is in the backing disk.</summary>
        Backing,

        /// <summary>The data is in a cluster of the file.</summary>
        Data,

        Compressed,

        /// <summary>An invalid entry.</summary>
        Damaged,
    }

    private Kind Classify(ulong entry)
    {
        if ((entry & Qcow2Format.Compressed) != 0)
        {
            return Kind.Compressed;
        }

        if ((entry & Qcow2Format.Zero) != 0 && _header.Version >= 3)
        {
            return Kind.Zero;
        }

        ulong offset = entry & Qcow2Format.OffsetMask;
        if (offset == 0)
        {
            return _backing is null ? Kind.Zero : Kind.Backing;
        }

        return offset % _clusterSize == 0 ? Kind.Data : Kind.Damaged;
    }

    private Outcome BeginRead(Qcow2Request request)
    {
        ulong cluster = request.Position >> _clusterBits;
        Qcow2Status status = _map.TryGet(cluster, out byte[]? slice, out int index);
        if (status != Qcow2Status.Ok)
        {
            return Failed(status);
        }

        ulong entry = slice is null ? 0 : Qcow2Cache.Read(slice, index);
        Kind kind = Classify(entry);
        ulong inCluster = request.Position & (_clusterSize - 1);
        ulong most = Math.Min(_map.LeftInSlice(cluster), (inCluster + request.Left + _clusterSize - 1) >> _clusterBits);
        ulong run = 1;
        while (run < most && kind is (Kind.Zero or Kind.Backing or Kind.Data))
        {
            ulong next = slice is null ? 0 : Qcow2Cache.Read(slice, index + (int)run);
            if (Classify(next) != kind || (kind == Kind.Data && !Follows(entry, next, run)))
            {
                break;
            }

            run++;
        }

        ulong length = Math.Min(request.Left, (run << _clusterBits) - inCluster);
        if (!TryLock(request, cluster, cluster + run - 1, exclusive: false))
        {
            return Outcome.Park;
        }

        request.Phase = Qcow2Phase.Moving;
        if (kind == Kind.Backing && request.Position >= _backing!.Length)
        {
            kind = Kind.Zero;
        }

        if (kind == Kind.Backing)
        {
            length = Math.Min(length, _backing!.Length - request.Position);
        }

        (nint vectors, int count) = Slice(request, ref length);
        request.StepLength = length;
        switch (kind)
        {
            case Kind.Data:
                request.Io.Prepare(
                    FileOperation.Read, (entry & Qcow2Format.OffsetMask) + inCluster, length, vectors, count);
                request.Io.ZeroPastEnd = true;
                _file.Start(request.Io);
                return Outcome.Wait;
            case Kind.Backing:
                _backing!.Enqueue(new DiskRequest(
                    DiskOperation.Read, request.Index, request.Position, length, vectors, count, DiskOptions.None));
                return Outcome.Wait;
            case Kind.Zero:
                IoVectors.Clear(vectors, count);
                break;
            case Kind.Compressed when _decompressor.TryGet(entry, out ReadOnlySpan<byte> bytes):
                IoVectors.Fill(vectors, count, bytes.Slice((int)inCluster, (int)length));
                break;
            default:
                return Outcome.Fail;
        }

        EndStep(request);
        return Outcome.Go;
    }

    private bool Follows(ulong first, ulong next, ulong distance) =>
        (next & Qcow2Format.OffsetMask) == (first & Qcow2Format.OffsetMask) + (distance << _clusterBits);

    private static Outcome Failed(Qcow2Status status) =>
        status == Qcow2Status.Full ? Outcome.ParkForFlush : Outcome.Fail;

    private Outcome CopyHead(Qcow2Request request)
    {
        request.Phase = Qcow2Phase.CopyHead;
        ulong start = request.First << _clusterBits;
        Outcome outcome = request.CopiesHead
            ? ReadOld(request, start, request.Position - start, 0)
            : Outcome.Go;
        if (outcome == Outcome.Go)
        {
            request.Phase = Qcow2Phase.CopyTail;
        }

        return outcome;
    }

    private Outcome CopyTail(Qcow2Request request)
    {
        ulong end = (request.Last + 1) << _clusterBits;
        Outcome outcome = request.CopiesTail
            ? ReadOld(request, request.StepEnd, end - request.StepEnd, _clusterSize)
            : Outcome.Go;
        if (outcome == Outcome.Go)
        {
            request.Phase = Qcow2Phase.Writing;
        }

        return outcome;
    }

    /// <summary>Reads what the disk holds now, within one cluster, into the request's bounce buffer.</summary>
    private Outcome ReadOld(Qcow2Request request, ulong position, ulong length, ulong bounceOffset)
    {
        Qcow2Status status = _map.TryGetEntry(position >> _clusterBits, out ulong entry);
        if (status != Qcow2Status.Ok)
        {
            return Failed(status);
        }

        Span<byte> target = request.Bounce.AsSpan(IndexOf(request.Bounce!, bounceOffset), (int)length);
        ulong inCluster = position & (_clusterSize - 1);
        request.Vectors[0] = new IoVector(AddressOf(request.Bounce!, bounceOffset), (nuint)length);
        switch (Classify(entry))
        {
            case Kind.Data:
                request.Io.Prepare(
                    FileOperation.Read, (entry & Qcow2Format.OffsetMask) + inCluster, length, request.VectorsAddress, 1);
                request.Io.ZeroPastEnd = true;
                _file.Start(request.Io);
                return Outcome.Wait;
            case Kind.Backing when position < _backing!.Length:
                ulong there = Math.Min(length, _backing.Length - position);
                target[(int)there..].Clear();
                request.Vectors[0] = request.Vectors[0] with { Length = (nuint)there };
                _backing.Enqueue(new DiskRequest(
                    DiskOperation.Read, request.Index, position, there, request.VectorsAddress, 1, DiskOptions.None));
                return Outcome.Wait;
            case Kind.Zero or Kind.Backing:
                target.Clear();
                return Outcome.Go;
            case Kind.Compressed when _decompressor.TryGet(entry, out ReadOnlySpan<byte> bytes):
                bytes.Slice((int)inCluster, (int)length).CopyTo(target);
                return Outcome.Go;
            default:
                return Outcome.Fail;
        }
    }
}

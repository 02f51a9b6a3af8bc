using Vmm.Devices.Virtio;
using Vmm.Host;

namespace Vmm.Backends.Disks.Qcow2;

// Writes, to allocated clusters or to new ones.
internal sealed partial class Qcow2Disk
{
    private const int ZeroBytes = 64 * 1024;

    private byte[]? _zeros;

    /// <param name="limit">Bytes from the request's position that may be written.</param>
    /// <param name="zeros">Zeros instead of the guest's data.</param>
    private Outcome BeginWrite(Qcow2Request request, ulong limit, bool zeros)
    {
        if (_broken)
        {
            return Outcome.Fail;
        }

        ulong cluster = request.Position >> _clusterBits;
        Qcow2Status status = _map.TryGet(cluster, out byte[]? slice, out int index);
        if (status != Qcow2Status.Ok)
        {
            return Failed(status);
        }

        request.WritesZeros = zeros;
        ulong entry = slice is null ? 0 : Qcow2Cache.Read(slice, index);
        ulong inCluster = request.Position & (_clusterSize - 1);
        ulong most = Math.Min(_map.LeftInSlice(cluster), (inCluster + limit + _clusterSize - 1) >> _clusterBits);
        ulong run = 1;
        bool inPlace = CanWriteInPlace(entry);
        while (run < most)
        {
            ulong next = slice is null ? 0 : Qcow2Cache.Read(slice, index + (int)run);
            if (CanWriteInPlace(next) != inPlace || (inPlace && !Follows(entry, next, run)))
            {
                break;
            }

            run++;
        }

        return inPlace
            ? WriteInPlace(request, cluster, run, Math.Min(limit, (run << _clusterBits) - inCluster), entry)
            : BeginNew(request, cluster, run, limit);
    }

    /// <summary>A cluster that has one reference, and is not a table of the image.</summary>
    private bool CanWriteInPlace(ulong entry) =>
        (entry & Qcow2Format.Copied) != 0 && Classify(entry) == Kind.Data && IsInFile(entry)
        && !_metadata.Contains((entry & Qcow2Format.OffsetMask) >> _clusterBits);

    private bool IsInFile(ulong entry) => (entry & Qcow2Format.OffsetMask) < _file.Length;

    private Outcome WriteInPlace(Qcow2Request request, ulong cluster, ulong run, ulong length, ulong entry)
    {
        if (!TryLock(request, cluster, cluster + run - 1, exclusive: false))
        {
            return Outcome.Park;
        }

        ulong inCluster = request.Position & (_clusterSize - 1);
        (nint vectors, int count) = request.WritesZeros
            ? (request.VectorsAddress, ZeroVectors(request, 0, ref length))
            : Slice(request, ref length);
        request.StepLength = length;
        request.Phase = Qcow2Phase.Moving;
        request.Io.Prepare(
            FileOperation.Write, (entry & Qcow2Format.OffsetMask) + inCluster, length, vectors, count);
        _file.Start(request.Io);
        return Outcome.Wait;
    }

    private Outcome BeginNew(Qcow2Request request, ulong cluster, ulong run, ulong limit)
    {
        if (_frozen)
        {
            return Outcome.Park;
        }

        if (_pendingFree.Count > MaxPendingFree)
        {
            return Outcome.ParkForFlush;
        }

        ulong start = cluster << _clusterBits;
        bool mayCopy = request.Position != start || limit < (run << _clusterBits) - (request.Position - start);
        if ((mayCopy && !TryTakeBounce(request)) || !TryLock(request, cluster, cluster + run - 1, exclusive: true))
        {
            ReleaseBounce(request);
            return Outcome.Park;
        }

        Qcow2Status status = _refcounts!.TryAllocate(run, out ulong first, out ulong got);
        if (status != Qcow2Status.Ok)
        {
            Unlock(request);
            return Failed(status);
        }

        request.NewCluster = first;
        request.Last = cluster + got - 1;
        ulong end = (cluster + got) << _clusterBits;
        request.StepLength = Math.Min(limit, end - request.Position);

        // Beyond the former end of the file, what is not written reads as zero.
        bool fresh = first << _clusterBits >= _freshFrom;
        _freshFrom = Math.Max(_freshFrom, (first + got) << _clusterBits);
        status = NeedsCopy(cluster, request.Position - start, fresh, out bool head);
        request.CopiesHead = head;
        if (status == Qcow2Status.Ok)
        {
            status = NeedsCopy(request.Last, end - request.StepEnd, fresh, out bool tail);
            request.CopiesTail = tail;
        }

        if (status != Qcow2Status.Ok)
        {
            return Outcome.Fail;
        }

        request.WrittenTo = head ? start : request.Position;
        request.Phase = Qcow2Phase.CopyHead;
        return Outcome.Go;
    }

    private void ReleaseBounce(Qcow2Request request)
    {
        if (request.Bounce is { } bounce)
        {
            request.Bounce = null;
            _bounces.Push(bounce);
        }
    }

    /// <summary>Must the bytes of this cluster that the guest does not write be copied to the new one?</summary>
    private Qcow2Status NeedsCopy(ulong cluster, ulong length, bool fresh, out bool needs)
    {
        needs = length != 0;
        if (!needs || !fresh)
        {
            return Qcow2Status.Ok;
        }

        Qcow2Status status = _map.TryGetEntry(cluster, out ulong entry);
        needs = Classify(entry) != Kind.Zero;
        return status;
    }

    /// <summary>Writes head, data and tail to the new clusters, as much at once as the vectors hold.</summary>
    private Outcome WriteNew(Qcow2Request request)
    {
        ulong start = request.First << _clusterBits;
        ulong end = (request.Last + 1) << _clusterBits;
        ulong stepEnd = request.StepEnd;
        ulong to = request.CopiesTail ? end : stepEnd;
        if (request.WrittenTo == to)
        {
            request.Phase = Qcow2Phase.Linking;
            return Outcome.Go;
        }

        ulong at = request.WrittenTo;
        Span<IoVector> vectors = request.Vectors;
        nint address = request.VectorsAddress;
        int count = 0;
        if (at < request.Position)
        {
            vectors[count++] = new IoVector(
                AddressOf(request.Bounce!, at - start), (nuint)(request.Position - at));
            at = request.Position;
        }

        if (at < stepEnd)
        {
            ulong length = stepEnd - at;
            if (request.WritesZeros)
            {
                count += ZeroVectors(request, count, ref length);
            }
            else if (count == 0 && !request.CopiesTail && request.Done == 0 && length == request.Disk.Length)
            {
                (address, count) = (request.Disk.Vectors, request.Disk.VectorCount);
            }
            else
            {
                // One is left free for the tail.
                count += IoVectors.Slice(
                    request.Disk.Vectors, request.Disk.VectorCount, request.Done + (at - request.Position), ref length,
                    vectors[count..^1]);
            }

            at += length;
        }

        if (at >= stepEnd && at < to)
        {
            vectors[count++] = new IoVector(
                AddressOf(request.Bounce!, _clusterSize + (at - stepEnd)), (nuint)(to - at));
            at = to;
        }

        request.WritingTo = at;
        request.Io.Prepare(
            FileOperation.Write, (request.NewCluster << _clusterBits) + (request.WrittenTo - start),
            at - request.WrittenTo, address, count);
        _file.Start(request.Io);
        return Outcome.Wait;
    }

    private int ZeroVectors(Qcow2Request request, int from, ref ulong length)
    {
        _zeros ??= GC.AllocateArray<byte>(ZeroBytes + PageBytes, pinned: true);
        ulong left = length;
        int count = from;
        for (; left > 0 && count < Qcow2Request.MaxVectors - 1; count++)
        {
            ulong part = Math.Min(left, ZeroBytes);
            request.Vectors[count] = new IoVector(AddressOf(_zeros, 0), (nuint)part);
            left -= part;
        }

        length -= left;
        return count - from;
    }

    /// <summary>The data is in the new clusters; from now on the map points there.</summary>
    private Outcome Link(Qcow2Request request)
    {
        if (_frozen)
        {
            return Outcome.Park;
        }

        Qcow2Status status = _map.TryGetForChange(request.First, out byte[] slice, out int index, out ulong offset);
        if (status != Qcow2Status.Ok)
        {
            return Failed(status);
        }

        for (ulong i = 0; i <= request.Last - request.First; i++)
        {
            FreeLater(Qcow2Cache.Read(slice, index + (int)i));
            ulong entry = ((request.NewCluster + i) << _clusterBits) | Qcow2Format.Copied;
            Qcow2Cache.Write(slice, index + (int)i, entry);
        }

        _map.MarkDirty(offset);
        EndStep(request);
        return Outcome.Go;
    }
}

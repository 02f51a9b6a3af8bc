using Vmm.Devices.Virtio;
using Vmm.Devices.Virtio.Block;

namespace Vmm.Backends.Disks.Qcow2;

// Discard and write-zeroes.
internal sealed partial class Qcow2Disk
{
    private Outcome BeginZero(Qcow2Request request)
    {
        ulong inCluster = request.Position & (_clusterSize - 1);
        ulong left = request.Left;
        bool toEnd = request.Disk.Offset + request.Disk.Length == Length;
        ulong whole = inCluster != 0 ? 0 : (left >> _clusterBits) + (toEnd && left % _clusterSize != 0 ? 1UL : 0);
        return whole == 0
            ? ZeroPart(request, Math.Min(left, _clusterSize - inCluster))
            : ZeroWhole(request, whole);
    }

    /// <summary>Less than a cluster: a discard does nothing, zeros are written.</summary>
    private Outcome ZeroPart(Qcow2Request request, ulong length)
    {
        ulong cluster = request.Position >> _clusterBits;
        Qcow2Status status = _map.TryGetEntry(cluster, out ulong entry);
        if (status != Qcow2Status.Ok)
        {
            return Failed(status);
        }

        if (request.Disk.Operation == DiskOperation.WriteZeroes && Classify(entry) != Kind.Zero)
        {
            return BeginWrite(request, length, zeros: true);
        }

        if (!TryLock(request, cluster, cluster, exclusive: false))
        {
            return Outcome.Park;        // a write to it is in flight; the resulting entry is not known yet
        }

        request.StepLength = length;
        EndStep(request);
        return Outcome.Go;
    }

    private Outcome ZeroWhole(Qcow2Request request, ulong clusters)
    {
        ulong first = request.Position >> _clusterBits;
        clusters = Math.Min(clusters, _map.LeftInSlice(first));
        if (_frozen || _broken)
        {
            return _broken ? Outcome.Fail : Outcome.Park;
        }

        if (_pendingFree.Count > MaxPendingFree)
        {
            return Outcome.ParkForFlush;
        }

        bool isDiscard = request.Disk.Operation == DiskOperation.Discard;
        if (_header.Version == 2 && _backing is not null)
        {
            // Version 2 has no zero clusters: unallocated clusters show the backing disk.
            return isDiscard ? ZeroPart(request, Math.Min(request.Left, _clusterSize))
                : BeginWrite(request, Math.Min(request.Left, _clusterSize), zeros: true);
        }

        if (!TryLock(request, first, first + clusters - 1, exclusive: true))
        {
            return Outcome.Park;
        }

        Qcow2Status status = ChangeToZero(request, first, clusters, isDiscard);
        if (status != Qcow2Status.Ok)
        {
            Unlock(request);
            return Failed(status);
        }

        request.StepLength = Math.Min(request.Left, clusters << _clusterBits);
        EndStep(request);
        return Outcome.Go;
    }

    private Qcow2Status ChangeToZero(Qcow2Request request, ulong first, ulong clusters, bool isDiscard)
    {
        Qcow2Status status = _map.TryGet(first, out byte[]? there, out _);
        if (status != Qcow2Status.Ok || (there is null && _backing is null))
        {
            return status;      // no table: all zero
        }

        status = _map.TryGetForChange(first, out byte[] slice, out int index, out ulong offset);
        if (status != Qcow2Status.Ok)
        {
            return status;
        }

        // Without the unmap flag the clusters stay allocated, marked as zero.
        bool keeps = !isDiscard && (request.Disk.Options & DiskOptions.Unmap) == 0 && _header.Version >= 3;
        for (int i = index; i < index + (int)clusters; i++)
        {
            ulong entry = Qcow2Cache.Read(slice, i);
            Kind kind = Classify(entry);
            if (kind == Kind.Zero && (keeps || (entry & Qcow2Format.OffsetMask) == 0))
            {
                continue;
            }

            bool keep = keeps && kind == Kind.Data && CanWriteInPlace(entry);
            if (!keep)
            {
                FreeLater(entry);
            }

            ulong unallocated = _backing is not null ? Qcow2Format.Zero : 0;
            Qcow2Cache.Write(slice, i, keep ? entry | Qcow2Format.Zero : unallocated);
            _map.MarkDirty(offset);
        }

        return Qcow2Status.Ok;
    }
}

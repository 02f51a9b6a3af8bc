using Vmm.Devices.Virtio;
using Vmm.Devices.Virtio.Block;
using Vmm.Host;

namespace Vmm.Backends.Disks.Qcow2;

// Makes changes durable, in an order that keeps the image consistent if a crash comes at any point:
//   1. refcount blocks, which count new clusters             then fdatasync: they, and all data, are durable
//   2. the refcount table, if it has new blocks              then fdatasync
//   3. L2 tables and L1 entries, which refer to all of that  then fdatasync
//   4. only now are clusters counted down that nothing refers to any more; that is written by the next flush
// A crash in between leaves clusters counted that are not used, never used ones that are not counted. During 1 to 3 the tables
// are frozen: steps that would change them wait. New L2 tables and refcount blocks are zeroed on
// the disk when they are allocated, before 1.
internal sealed partial class Qcow2Disk
{
    private const int MaxPendingFree = 64 * 1024;

    private readonly FileIo _flushIo;
    private readonly List<ulong> _pendingFree = [];     // clusters with one reference less than counted
    private List<Qcow2Request> _flushWaiting = [];
    private List<Qcow2Request> _flushServed = [];
    private FlushPhase _flushPhase;
    private bool _flushing;
    private bool _frozen;
    private bool _broken;

    private enum FlushPhase
    {
        Blocks,
        Table,
        Map,
    }

    private bool IsMetadataDirty =>
        _refcounts is not null && (_refcounts.IsDirty || _map.IsDirty || _pendingFree.Count > 0);

    /// <summary>Completes the request when all that was completed before is durable.</summary>
    private void JoinFlush(Qcow2Request request)
    {
        if (_file.IgnoresFlush || _refcounts is null)
        {
            Release(request, DiskResult.Ok);
            return;
        }

        _flushWaiting.Add(request);
        BeginFlush();
    }

    /// <summary>Starts a flush; if one is in progress, its end starts the next for requests that wait.</summary>
    private void BeginFlush()
    {
        if (_flushing)
        {
            return;
        }

        _flushing = true;
        (_flushWaiting, _flushServed) = (_flushServed, _flushWaiting);
        _frozen = IsMetadataDirty;
        _flushPhase = FlushPhase.Blocks;
        if (_broken || !_refcounts!.TryWriteBlocks())
        {
            EndFlush(ok: false);
            return;
        }

        if (!_frozen)
        {
            _flushPhase = FlushPhase.Map;       // only data: one fdatasync is all
        }

        Sync();
    }

    private void Sync()
    {
        if (_file.IgnoresFlush)
        {
            ContinueFlush(errno: 0);
            return;
        }

        _flushIo.PrepareSync();
        _file.Start(_flushIo);
    }

    private void ContinueFlush(int errno)
    {
        if (errno != 0)
        {
            // It is unknown what reached the disk, and a later fdatasync would not report it (fsync(2)).
            _broken = true;
            EndFlush(ok: false);
            return;
        }

        switch (_flushPhase)
        {
            case FlushPhase.Blocks when _refcounts!.IsTableDirty:
                _flushPhase = FlushPhase.Table;
                Next(_refcounts.TryWriteTable());
                break;
            case FlushPhase.Blocks or FlushPhase.Table:
                _flushPhase = FlushPhase.Map;
                Next(_map.TryWrite());
                break;
            default:
                if (_frozen)
                {
                    CountDown();
                }

                EndFlush(ok: true);
                break;
        }
    }

    private void Next(bool ok)
    {
        if (ok)
        {
            Sync();
        }
        else
        {
            EndFlush(ok: false);
        }
    }

    private void EndFlush(bool ok)
    {
        _flushing = false;
        _frozen = false;
        _retry = true;
        foreach (Qcow2Request request in _flushServed)
        {
            Release(request, ok ? DiskResult.Ok : DiskResult.Error);
        }

        _flushServed.Clear();
        if (_flushWaiting.Count > 0)
        {
            BeginFlush();
        }
    }

    /// <summary>An entry is about to be removed from the map: its clusters are free once that is durable.</summary>
    private void FreeLater(ulong entry)
    {
        ulong offset = entry & Qcow2Format.OffsetMask;
        ulong length = 1;
        if ((entry & Qcow2Format.Compressed) != 0)
        {
            (offset, length) = Qcow2Decompressor.Locate(entry, _clusterBits);
        }

        if (offset == 0 || offset >= _file.Length)
        {
            return;
        }

        // A compressed cluster counts once in every cluster of the file that it touches.
        for (ulong cluster = offset >> _clusterBits; cluster <= (offset + length - 1) >> _clusterBits; cluster++)
        {
            _pendingFree.Add(cluster);
        }
    }

    private void CountDown()
    {
        int done = 0;
        ulong punchFrom = 0;
        ulong punchTo = 0;
        for (; done < _pendingFree.Count; done++)
        {
            ulong cluster = _pendingFree[done];
            Qcow2Status status = _refcounts!.TryRelease(cluster, out bool nowFree);
            if (status == Qcow2Status.Full)
            {
                break;      // the rest after the next flush
            }

            if (!nowFree || !_discards)
            {
                continue;   // an error: at worst a leak
            }

            if (cluster != punchTo)
            {
                Punch(punchFrom, punchTo);
                punchFrom = cluster;
            }

            punchTo = cluster + 1;
        }

        Punch(punchFrom, punchTo);
        _pendingFree.RemoveRange(0, done);
    }

    /// <summary>Gives free clusters back to the host, before they can be allocated again.</summary>
    private void Punch(ulong from, ulong to)
    {
        if (from < to)
        {
            _file.Punch(from << _clusterBits, (to - from) << _clusterBits);
        }
    }
}

namespace Vmm.Backends.Disks.Qcow2;

/// <summary>What a step holds while it is in progress: a lock on its clusters, and a bounce buffer; and the steps that wait
/// for these.</summary>
internal sealed partial class Qcow2Disk
{
    /// <summary>Locks clusters for a step; false while another step holds a conflicting lock.</summary>
    private bool TryLock(Qcow2Request request, ulong first, ulong last, bool exclusive)
    {
        foreach (Qcow2Request other in _steps)
        {
            if ((exclusive || other.Exclusive) && first <= other.Last && other.First <= last)
            {
                return false;
            }
        }

        request.First = first;
        request.Last = last;
        request.Exclusive = exclusive;
        request.StepIndex = _steps.Count;
        _steps.Add(request);
        return true;
    }

    private void Unlock(Qcow2Request request)
    {
        request.NewCluster = 0;
        if (request.Bounce is { } bounce)
        {
            request.Bounce = null;
            _bounces.Push(bounce);
            _retry = true;
        }

        if (request.StepIndex >= 0)
        {
            Qcow2Request last = _steps[^1];
            _steps[request.StepIndex] = last;
            last.StepIndex = request.StepIndex;
            _steps.RemoveAt(_steps.Count - 1);
            request.StepIndex = -1;
            _retry = true;
        }
    }

    private bool TryTakeBounce(Qcow2Request request)
    {
        if (request.Bounce is not null)
        {
            return true;
        }

        if (!_bounces.TryPop(out byte[]? bounce))
        {
            if (_bouncesLeft == 0)
            {
                return false;
            }

            _bouncesLeft--;
            bounce = GC.AllocateUninitializedArray<byte>((2 * (int)_clusterSize) + PageBytes, pinned: true);
        }

        request.Bounce = bounce;
        return true;
    }

    /// <summary>Lets parked steps try again.</summary>
    private void Pump()
    {
        if (_pumping)
        {
            return;     // the loop below goes on with it
        }

        _pumping = true;
        while (_retry && _parked.Count > 0)
        {
            _retry = false;
            (_parked, _retried) = (_retried, _parked);
            foreach (Qcow2Request request in _retried)
            {
                Run(request);
            }

            _retried.Clear();
        }

        _pumping = false;
    }
}

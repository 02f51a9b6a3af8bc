using Vmm.Snapshots;

namespace Vmm.Control;

/// <summary>Taking a machine back to its last snapshot.</summary>
internal sealed partial class MachineControl
{
    private static readonly TimeSpan RewindPatience = TimeSpan.FromSeconds(10);

    /// <summary>Not here: this loop stands still meanwhile.</summary>
    private void GoBack(ControlAnswer answer)
    {
        CheckMayBegin();
        CheckGuestHolds();
        if (_guest is not null && _isPaused)
        {
            throw new ControlException("not-now", "it is paused: resume it first, so that its agent can have its programs go on");
        }

        if (_spec.HasOtherPrograms)
        {
            throw new ControlException("failed", "a machine with shared directories cannot go back, as virtiofsd does not take over another state while "
                + "it runs; 'vmm restore' makes another machine from its snapshot");
        }

        bool toOrigin = _since.IsOrigin;
        if (toOrigin && _guest is { HasOrigin: false })
        {
            throw new ControlException("failed", Rewind.NoSnapshot);
        }

        (bool wasPaused, _isSaving, _isGoingBack) = (_isPaused, true, true);
        _isHeld = _guest is not null;
        Begin(
            "vmm-rewind",
            () => Rewind.Run(_machine, _since, RewindPatience, wasPaused, () => _guest?.WentBack(toOrigin)),
            (report, failure) =>
            {
                if (report is null || _guest is null)
                {
                    WentBack(report, failure, answer);
                }
                else
                {
                    _guest.WhenBack(() => WentBack(report, null, answer));
                }
            });
    }

    private void WentBack(RewindReport? report, Exception? failure, ControlAnswer answer)
    {
        _isSaving = _isGoingBack = _isHeld = false;
        if (report is not null)
        {
            answer.Done(new ControlRewound(Seconds(report.Pause), report.MemoryBytes), ControlJson.Default.ControlRewound);
        }
        else
        {
            answer.Fail("failed", Explain(failure!));
        }

        DoWaiting();
    }
}

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
        if (_guest is not null)
        {
            throw new ControlException("failed", "a machine of 'vmm run' cannot go back: what its agent and this host know of each other would not fit "
                + "any more; 'vmm restore' makes another from its snapshot");
        }

        if (_spec.HasOtherPrograms)
        {
            throw new ControlException("failed", "a machine with shared directories cannot go back, as virtiofsd does not take over another state while "
                + "it runs; 'vmm restore' makes another machine from its snapshot");
        }

        Try(() => SnapshotWriter.CheckKind(_machine));
        (bool wasPaused, _isSaving) = (_isPaused, true);
        Begin("vmm-rewind", () => Rewind.Run(_machine, _since, RewindPatience, wasPaused), (report, failure) =>
        {
            _isSaving = false;
            if (report is not null)
            {
                answer.Done(new ControlRewound(Seconds(report.Pause), report.MemoryBytes), ControlJson.Default.ControlRewound);
            }
            else
            {
                answer.Fail("failed", Explain(failure!));
            }
        });
    }
}

using Vmm.Machines;
using Vmm.Snapshots;

namespace Vmm.Control;

/// <summary>Saving a machine into a directory.</summary>
internal sealed partial class MachineControl
{
    private readonly WrittenSince _since;

    /// <summary>Not here: this loop stands still meanwhile.</summary>
    private void Save(SnapshotArguments asked, ControlAnswer answer)
    {
        CheckMayBegin();
        CheckPath("directory", asked.Directory);
        if (asked.Diff is not null)
        {
            CheckPath("diff", asked.Diff);
        }

        CheckGuestHolds();
        if (_guest is not null && _isPaused)
        {
            throw new ControlException("not-now", "it is paused: resume it first, so that its agent can have its programs stand still");
        }

        Try(() => SnapshotWriter.CheckKind(_machine));
        (bool wasPaused, _isSaving) = (_isPaused, true);
        Begin("vmm-save", () => Write(asked, wasPaused), (report, failure) => Saved(asked, wasPaused, report, failure, answer));
    }

    private SnapshotReport Write(SnapshotArguments asked, bool wasPaused)
    {
        using Snapshot? from = asked.Diff is null ? null : Snapshot.OpenAny(asked.Diff);

        // A machine that is to end stays still until it does.
        return SnapshotWriter.Write(_machine, asked.Directory, _version, new SnapshotOptions
        {
            IsPaused = wasPaused,
            Hold = HoldGuest,
            WentOn = () => _machine.Loop.Post(() =>
            {
                LetGuestGo();
                DoWaiting();
            }),
            StaysStill = asked.Stop,
            IsLive = asked.Live,
            Since = _since,
            Base = from,
        });
    }

    private void Saved(SnapshotArguments asked, bool wasPaused, SnapshotReport? report, Exception? failure, ControlAnswer answer)
    {
        _isSaving = false;
        if (report is not null)
        {
            answer.Done(
                new ControlSaved(
                    Seconds(report.Pause), report.Stops, Seconds(report.LongestPause), report.MemoryBytes, _guest is null ? null : Seconds(report.Held),
                    report.Note),
                ControlJson.Default.ControlSaved);
            if (asked.Stop)
            {
                _isStopping = true;
                TellState();
                _machine.End(MachineEnd.Saved);
            }

            return;
        }

        if (asked.Stop && !wasPaused)
        {
            _machine.Resume();
        }

        LetGuestGo();
        DoWaiting();
        answer.Fail("failed", Explain(failure!));
    }

    private static void CheckPath(string name, string path)
    {
        if (!Path.IsPathRooted(path) || path.Contains('\0', StringComparison.Ordinal))
        {
            throw new ControlException("bad-arguments", $"arguments.{name}: takes a whole path");
        }
    }
}

using Vmm.Host;
using Vmm.Machines;
using Vmm.Snapshots;

namespace Vmm.Control;

/// <summary>Saving a machine into a directory.</summary>
internal sealed partial class MachineControl
{
    private WrittenSince? _since;

    private void CheckNotSaving()
    {
        if (_isSaving)
        {
            throw new ControlException("not-now", "it is being saved");
        }

        if (_isForking)
        {
            throw new ControlException("not-now", "it is being forked");
        }
    }

    /// <summary>Not here: this loop stands still meanwhile.</summary>
    private void Save(SnapshotArguments asked, ControlAnswer answer)
    {
        CheckNotSaving();
        if (_isPausing || _isStopping)
        {
            throw new ControlException("not-now", _isPausing ? "it is being paused" : "it was asked to end");
        }

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
        _since ??= new WrittenSince(_machine.Ram);
        if (_guest is null)
        {
            Write(asked, wasPaused, answer);
            return;
        }

        _guest.Hold(failure =>
        {
            if (failure is null)
            {
                Write(asked, wasPaused, answer);
            }
            else
            {
                Saved(asked with { Stop = false }, wasPaused, null, new HostException(failure), answer);
            }
        });
    }

    private void Write(SnapshotArguments asked, bool wasPaused, ControlAnswer answer) =>
        _saving = HostThread.Start("vmm-save", EventLoop.StackSize, () =>
        {
            Exception? failure = null;
            SnapshotReport? report = null;
            try
            {
                using Snapshot? from = asked.Diff is null ? null : Snapshot.OpenAny(asked.Diff);

                // A machine that is to end stays still until it does.
                report = SnapshotWriter.Write(_machine, asked.Directory, _version, new SnapshotOptions
                {
                    IsPaused = wasPaused,
                    StaysStill = asked.Stop,
                    IsLive = asked.Live,
                    Since = _since,
                    Base = from,
                });
            }
            catch (Exception error)
            {
                failure = error;
            }

            _machine.Loop.Post(() => Saved(asked, wasPaused, report, failure, answer));
        });

    private void Saved(SnapshotArguments asked, bool wasPaused, SnapshotReport? report, Exception? failure, ControlAnswer answer)
    {
        _isSaving = false;
        if (report is not null)
        {
            answer.Done(
                new ControlSaved(Seconds(report.Pause), report.Stops, Seconds(report.LongestPause), report.MemoryBytes, report.Note),
                ControlJson.Default.ControlSaved);
            if (asked.Stop)
            {
                _isStopping = true;
                TellState();
                _machine.End(MachineEnd.Saved);
            }
            else
            {
                _guest?.LetGo(hasAsked: false);
            }

            return;
        }

        if (asked.Stop && !wasPaused)
        {
            _machine.Resume();
        }

        _guest?.LetGo(hasAsked: false);
        answer.Fail("failed", Explain(failure!));
    }

    private static void CheckPath(string name, string path)
    {
        if (!Path.IsPathRooted(path) || path.Contains('\0', StringComparison.Ordinal))
        {
            throw new ControlException("bad-arguments", $"arguments.{name}: takes a whole path");
        }
    }

    private static double Seconds(TimeSpan time) => Math.Round(time.TotalSeconds, 6);
}

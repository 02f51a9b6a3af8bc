using Vmm.Host;
using Vmm.Snapshots;
using Vmm.Snapshots.Forks;

namespace Vmm.Control;

/// <summary>Forking a machine: whoever asks has made files without names, gets a copy of the machine in them, and starts other
/// machines that go on from there.</summary>
internal sealed partial class MachineControl
{
    private void CheckMayFork()
    {
        if (_isSaving)
        {
            CheckNotSaving();
        }

        if (_isPaused || _isPausing || _isStopping || _machine.IsButtonPressed)
        {
            throw new ControlException("not-now", _isPaused ? "it is paused: resume it first, then fork it"
                : _isPausing ? "it is being paused"
                : "it was asked to end");
        }

        CheckGuestHolds();
        Try(() => ForkWriter.Check(_spec));
        Try(() => OtherPrograms.Check(_machine, "forked"));
    }

    /// <summary>A guest with vmm's agent in it has to be held, and to find another vmm.</summary>
    private void CheckGuestHolds()
    {
        if (_guest is { IsBooting: true })
        {
            throw new ControlException("not-now", "it still boots; try again when it runs");
        }

        if (_guest is { HasAgent: false })
        {
            throw new ControlException("not-now", "it is about to end");
        }

        if (_guest is { CanHold: false })
        {
            throw new ControlException("failed", "its kernel has no vsock, by which vmm's agent would find another vmm; have "
                + "CONFIG_VIRTIO_VSOCKETS in it");
        }
    }

    private ControlForkPlan ForkPlan()
    {
        CheckMayFork();
        return new ControlForkPlan
        {
            CommandLine = OwnCommandLine.Read().Arguments,
            Directory = Environment.CurrentDirectory,
            Name = _spec.Name,
            Kernel = _spec.Kernel,
            Memory = _spec.Memory,
            Cpus = _spec.Cpus,
            Agent = _guest is not null,
            StopTimeout = _machine.StopTimeout.TotalSeconds,
            Overlays = Overlays.Of(ForkWriter.OfForks(_spec)).Count,
        };
    }

    /// <summary>Not here: this loop stands still while memory is copied.</summary>
    private void Fork(ForkArguments asked, ControlAnswer answer)
    {
        CheckMayFork();
        if (_isForking)
        {
            _waiting.Add(() => ForkNext(asked, answer));
            return;
        }

        if (asked.Files.Any(static path => !Path.IsPathRooted(path) || path.Contains('\0', StringComparison.Ordinal)))
        {
            throw new ControlException("bad-arguments", "arguments.files: takes whole paths");
        }

        _isForking = true;
        Begin(
            "vmm-fork",
            () =>
            {
                HoldGuest();
                return ForkWriter.Write(_machine, asked.Files);
            },
            (report, failure) => Forked(asked, report, failure, answer));
    }

    /// <summary>Somebody else's fork is done.</summary>
    private void ForkNext(ForkArguments asked, ControlAnswer answer)
    {
        try
        {
            Fork(asked, answer);
        }
        catch (ControlException error)
        {
            answer.Fail(error.Code, error.Message);
        }
    }

    private void Forked(ForkArguments asked, ForkReport? report, Exception? failure, ControlAnswer answer)
    {
        _isForking = false;
        if (asked.Asked && report is not null)
        {
            _machine.ForkRequests?.Copied();
        }

        LetGuestGo(asked.Asked && report is not null);
        if (report is not null)
        {
            answer.Done(new ControlForked(Seconds(report.Pause), report.MemoryBytes), ControlJson.Default.ControlForked);
        }
        else
        {
            answer.Fail("failed", Explain(failure!));
        }

        DoWaiting();
    }
}

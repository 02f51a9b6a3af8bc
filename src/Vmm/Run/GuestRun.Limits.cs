using Vmm.Host;
using Vmm.Kvm;
using Vmm.Machines;
using Vmm.Run.Results;
using Vmm.Text;

namespace Vmm.Run;

/// <summary>How long each phase of a run may take, and what happens when that time is over.</summary>
internal sealed partial class GuestRun
{
    private static readonly TimeSpan BeforeNotice = TimeSpan.FromSeconds(3);

    private readonly HostKind _hostKind = HostKinds.Detect();

    /// <summary>A guest that booted before has only to notice that it goes on.</summary>
    private TimeSpan BootTimeout => _fork is not null ? TimeSpan.FromSeconds(IsSlow ? 300 : 60)
        : _isRestored ? TimeSpan.FromSeconds(IsSlow ? 60 : 5)
        : _options.BootTimeout
        ?? TimeSpan.FromSeconds(IsSlow ? 900 : 60);

    /// <summary>Where guests run tens of times slower: time limits of vmm's own are longer.</summary>
    private bool IsSlow => _hostKind == HostKind.Pvm || Environment.GetEnvironmentVariable("VMM_KVM_EMULATED") is { Length: > 0 };

    private TimeSpan Patience => TimeSpan.FromSeconds(IsSlow ? 10 : 2);

    /// <summary>Tells somebody at a terminal, who sees none of the boot, what takes so long. Scripts are told nothing.</summary>
    private void AwaitBoot()
    {
        if (!_options.ShowConsole && Stderr.IsTerminal)
        {
            Own(new LoopTimer(_loop, () =>
            {
                if (_phase == RunPhase.Booting && !_session.HasArrived)
                {
                    Stderr.WriteLine($"vmm: still booting{(IsSlow ? ", which takes long on this kind of host" : "")}; "
                        + "--console shows what the guest's kernel says");
                }
            })).Set(BeforeNotice);
        }
    }

    private void Elapsed()
    {
        switch (_phase)
        {
            case RunPhase.Booting when IsUnheard:
                EndMachine();
                break;
            case RunPhase.Booting:
                Investigate();
                _verdict = RunVerdict.NotStarted(
                    $"the guest did not boot: vmm's agent did not connect within {TimeSpanText.Format(BootTimeout)} (--boot-timeout)",
                    showConsole: true);
                _phase = RunPhase.TimedOut;
                _timer.Set(Patience);
                break;
            case RunPhase.Running when _isGoingBack:
                _timer.Set(LookAgain);
                break;
            case RunPhase.Running when _options.Timeout is null || _process is null:
                break;      // an event of the boot's timer
            case RunPhase.Running:
                Investigate();
                _verdict = new RunVerdict(
                    RunOutcome.TimedOut, RunVerdict.TimedOut,
                    $"timed out after {TimeSpanText.Format(_options.Timeout!.Value)}: {string.Join(' ', _options.Command)}",
                    ShowConsole: true);
                _phase = RunPhase.TimedOut;
                _process!.Signal(LibC.SIGTERM);
                _timer.Set(Patience);
                break;
            case RunPhase.Lost:
                Finish(RunVerdict.Failed("the guest's agent is lost", showConsole: true));
                break;
            case RunPhase.Leaving:
                _verdict = RunVerdict.Failed("the guest did not write its changes to the root file system in time", showConsole: true);
                EndMachine();
                break;
            default:
                EndMachine();
                break;
        }
    }

    /// <summary>Collects where the vCPUs are, and asks Linux for its tasks; the guest has a moment to answer.</summary>
    private void Investigate()
    {
        _findings = HangReport.Vcpus(_machine);
        _recorder.Complaints.Keep();
        _consoleMark = _recorder.Console.Total;
        foreach (char command in "7tw")
        {
            HangReport.SendSysRq(_console, command);
        }
    }
}

using System.Text;
using Vmm.Backends.Agent;
using Vmm.Control;
using Vmm.Devices.Legacy;
using Vmm.Devices.State;
using Vmm.Host;
using Vmm.Run.Results;
using Vmm.Snapshots.Forks;

namespace Vmm.Run;

/// <summary>A machine that is saved or forked while it runs, and one that goes on from there.</summary>
internal sealed partial class GuestRun
{
    private Action<string?>? _held;
    private LoopTimer? _holdTimer;
    private ForkNumber? _fork;
    private bool _isTold;
    private bool _isSame;
    private bool _setsClock = true;
    private FreshIdentity? _identity;

    /// <inheritdoc/>
    public string Record => _phase == RunPhase.Running ? Encoding.UTF8.GetString(StateWriter.Save(new RunRecord(_options))) : "";

    bool IControlledGuest.CanHold => !_session.IsSerial;

    /// <summary>The machine is a fork of another one, whose guest's agent connects with what runs already. Before it runs.</summary>
    public void GoesOnAsFork(ForkNumber fork)
    {
        (_isRestored, _fork) = (true, fork);
        _session.Adopt = Adopt;
    }

    /// <summary>The machine is one that was saved while it ran. Before it runs.</summary>
    /// <param name="isSame">It goes on as the machine that it was; else it is another one.</param>
    /// <param name="setsClock">Give it the host's time of day.</param>
    public void GoesOnAs(bool isSame, bool setsClock)
    {
        GoesOnAsFork(new ForkNumber(0));
        (_isSame, _setsClock) = (isSame, setsClock);
    }

    void IControlledGuest.Hold(Action<string?> held)
    {
        _held = held;
        _session.Tell(AgentFrameType.Hold);
        _session.Flush();
        _holdTimer ??= Own(new LoopTimer(_loop, () => Held("the guest's agent does not answer")));
        _holdTimer.Set(Patience);
    }

    void IControlledGuest.LetGo(bool hasAsked)
    {
        if (_phase == RunPhase.Running)
        {
            RunSetup.LetGo(_session, number: 0, hasAsked);
        }
    }

    bool IAgentOwner.AskedForForks(uint count)
    {
        if (_machine.ForkRequests is not { } requests)
        {
            return false;
        }

        // (Where it is done, the agent hears it when it lets the machine go on.)
        requests.Ask(count, result =>
        {
            if (result != 0)
            {
                RunSetup.RefuseFork(_session, result & ~ForkPort.Refused);
            }
        });
        return true;
    }

    /// <returns>False where nobody waits for that.</returns>
    private bool Held(string? failure)
    {
        Action<string?>? held = _held;
        _held = null;
        held?.Invoke(failure);
        return held is not null;
    }

    /// <summary>The command's output goes where that of this vmm goes. What others have started for themselves, over the control socket
    /// of the machine that was forked, has no reader here.</summary>
    private IAgentProcessOwner Adopt(uint process) => process == 1 && _options.Command.Count > 0 ? this : new UnreadProcess();

    /// <summary>The agent has said what runs: gives this machine an identity of its own, and lets it go on.</summary>
    private void BeginFork(ForkNumber fork)
    {
        _isTold = true;
        _session.Adopt = null;
        if (_options.Command.Count > 0 && _process is null)
        {
            Finish(RunVerdict.NotStarted("its command had ended when it was saved or forked"));
            return;
        }

        FreshIdentity identity = _isSame ? FreshIdentity.Same : _identity ??= FreshIdentity.Named(_options.Hostname, _machine.Nets);
        (identity with { SetsClock = _setsClock }).Send(_session);
        RunSetup.LetGo(_session, (uint)fork.Number, fork.IsAsked);
        Stay();
    }

    private sealed class UnreadProcess : IAgentProcessOwner
    {
        public void Started(AgentProcess process)
        {
            // It had before.
        }

        public void Wrote(AgentProcess process, bool isError, ReadOnlySpan<byte> bytes) => process.Consumed(isError, bytes.Length);

        public void WantsInput(AgentProcess process)
        {
            // It gets none.
        }

        public void ClosedInput(AgentProcess process)
        {
            // Nor is there any.
        }

        public void Ended(AgentProcess process, in AgentExit exit)
        {
            // Nobody waits for it.
        }
    }
}

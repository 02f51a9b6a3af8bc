using Vmm.Backends.Agent;
using Vmm.Control;
using Vmm.Host;
using Vmm.Run.Results;

namespace Vmm.Run;

/// <summary>A machine that is forked, and one that is a fork.</summary>
internal sealed partial class GuestRun
{
    private Action<string?>? _held;
    private LoopTimer? _holdTimer;
    private uint? _fork;
    private bool _isTold;

    bool IControlledGuest.CanHold => !_session.IsSerial;

    /// <summary>The machine is a fork of another one, whose guest's agent connects with what runs already. Before it runs.</summary>
    /// <param name="number">From 1.</param>
    public void GoesOnAsFork(int number)
    {
        (_isRestored, _fork) = (true, (uint)number);
        _session.Adopt = Adopt;
    }

    void IControlledGuest.Hold(Action<string?> held)
    {
        _held = held;
        _session.Tell(AgentFrameType.Hold);
        _session.Flush();
        _holdTimer ??= Own(new LoopTimer(_loop, () => Held("the guest's agent does not answer")));
        _holdTimer.Set(Patience);
    }

    void IControlledGuest.LetGo()
    {
        if (_phase == RunPhase.Running)
        {
            RunSetup.LetGo(_session, number: 0);
        }
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
    private void BeginFork(uint number)
    {
        _isTold = true;
        _session.Adopt = null;
        if (_options.Command.Count > 0 && _process is null)
        {
            Finish(RunVerdict.NotStarted("its command had ended when it was forked"));
            return;
        }

        FreshIdentity.Named(_options.Hostname, _machine.Nets).Send(_session);
        RunSetup.LetGo(_session, number);
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

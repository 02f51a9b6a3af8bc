using Vmm.Backends.Agent;
using Vmm.Machines;
using Vmm.Run.Results;

namespace Vmm.Run;

/// <summary>A machine without a command (<c>vmm run -d</c>): it stays until somebody stops it.</summary>
internal sealed partial class GuestRun
{
    void IAgentOwner.Answered()
    {
        if (Held(null))
        {
            return;
        }

        if (_fork is { } fork && !_isTold)
        {
            if (_isGoingBack)
            {
                GoOnFromThere(fork);
            }
            else
            {
                BeginFork(fork);
            }

            return;
        }

        if (_isGoingBack)
        {
            Back();
            return;
        }

        if ((_options.Command.Count == 0 || _fork is not null) && _phase == RunPhase.Booting)
        {
            _phase = RunPhase.Running;
            _recorder.CommandBegan();
            _up?.Invoke(_machine);
            Began?.Invoke();
            if (_options.Timeout is { } timeout && _process is not null)
            {
                _timer.Set(timeout);
            }
        }
    }

    /// <summary>Once the agent has done what it was told so far, the machine is up.</summary>
    private void Stay()
    {
        _session.Tell(AgentFrameType.Ping);
        _session.Flush();
    }

    /// <summary>Somebody wants it to end, which is no failure.</summary>
    private void Stop(string why)
    {
        _verdict ??= new RunVerdict(RunOutcome.Stopped, ExitCodes.Success, why);
        Leave();
    }

    /// <summary>Has the guest write everything and end.</summary>
    private void Leave()
    {
        _phase = RunPhase.Leaving;
        _timer.Set(BootTimeout);
        _session.Shutdown();
    }
}

using Vmm.Backends.Agent;
using Vmm.Control;
using Vmm.Host;
using Vmm.Snapshots.Forks;

namespace Vmm.Run;

/// <summary>A machine that goes back to where it was saved, restored or forked. Its agent was told to hold the guest's processes then, so
/// it does as in a machine that is restored: it connects again, and waits for what makes this machine another one.</summary>
internal sealed partial class GuestRun
{
    private static readonly TimeSpan LookAgain = TimeSpan.FromMilliseconds(2);

    private bool _isGoingBack;
    private Action? _back;
    private LoopTimer? _backTimer, _drainTimer;

    /// <summary>Else it went on from where another one had booted.</summary>
    bool IControlledGuest.HasOrigin => _fork is not null;

    void IControlledGuest.WentBack(bool toOrigin)
    {
        (FileDescriptor ours, FileDescriptor theirs) = UnixSocket.CreatePair();
        ErrnoException.Check(LibC.fcntl(theirs.Number, LibC.F_SETFL, LibC.O_RDWR | LibC.O_NONBLOCK), "fcntl");
        _input?.Stop();
        AgentProcess? command = _process;
        _process = null;
        IReadOnlyList<AgentProcess> lost = _session.BeginAgain(_loop, ours);
        _sockets.BeginAgain(theirs);
        _session.Adopt = Adopt;
        (_isGoingBack, _isTold) = (true, false);
        if (!toOrigin)
        {
            (_fork, _isSame) = (new ForkNumber(0), true);       // it was this machine that was saved
        }

        _loop.Post(() =>
        {
            foreach (AgentProcess each in lost.Where(each => each != command))
            {
                each.TellLost();
            }
        });
    }

    void IControlledGuest.WhenBack(Action back)
    {
        if (!_isGoingBack)
        {
            back();
            return;
        }

        _back = back;
        _backTimer ??= Own(new LoopTimer(_loop, () =>
        {
            if (_isGoingBack)
            {
                Finish(RunVerdict.Failed("vmm's agent did not connect again after the machine went back to its snapshot", showConsole: true));
            }
        }));
        _backTimer.Set(BootTimeout);
    }

    /// <summary>The agent has said what runs. The command gets whole windows for its output again, so what it wrote before has to be out of
    /// the way: who reads it may be slow.</summary>
    private void GoOnFromThere(ForkNumber fork)
    {
        if (!_output.Flush(TimeSpan.Zero) || !_error.Flush(TimeSpan.Zero))
        {
            _drainTimer ??= Own(new LoopTimer(_loop, () => GoOnFromThere(_fork!.Value)));
            _drainTimer.Set(LookAgain);
            return;
        }

        _output.Forget();
        _error.Forget();
        BeginFork(fork);
        foreach ((StreamOutput output, bool isError) in ((StreamOutput, bool)[])[(_output, false), (_error, true)])
        {
            if (output.Failure is not null)
            {
                Broken(isError);
            }
        }
    }

    /// <summary>It runs again.</summary>
    private void Back()
    {
        _isGoingBack = false;
        _backTimer?.Stop();
        Action? back = _back;
        _back = null;
        back?.Invoke();
    }
}

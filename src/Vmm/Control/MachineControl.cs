using System.Diagnostics;
using System.Text.Json;
using Vmm.Host;
using Vmm.Insight.Complaints;
using Vmm.Machines;
using Vmm.Snapshots;

namespace Vmm.Control;

/// <summary>What can be asked of any machine over its control socket. On the event loop's thread.</summary>
internal sealed partial class MachineControl : IControlTarget
{
    private readonly Machine _machine;
    private readonly MachineSpec _spec;
    private readonly string _version;
    private readonly IControlledGuest? _guest;
    private Action<ControlEvent> _tell = static _ => { };
    private HostThread? _pausing, _saving;
    private LoopTimer? _stopTimer;
    private readonly List<Action> _waiting = [];     // until the guest's command runs, or it was forked; as many as clients may have in flight
    private bool _isPaused, _isPausing, _isStopping, _isSaving, _isGoingBack, _isForking;

    /// <param name="version">Of vmm.</param>
    /// <param name="guest">Null where no agent runs in it.</param>
    public MachineControl(Machine machine, string version, IControlledGuest? guest = null)
    {
        (_machine, _spec, _version, _guest, _since) = (machine, machine.Spec, version, guest, WrittenSince.Of(machine));
        machine.Complained += complaint => _tell(new ControlEvent
        {
            Event = "complaint",
            Kind = ComplaintNames.NameOf(complaint.Kind),
            Text = complaint.Text,
        });
        if (guest is not null)
        {
            guest.Began += Began;
        }
    }

    public Action<ControlEvent> Tell
    {
        set => _tell = value;
    }

    public ControlGreeting Greeting => new()
    {
        Protocol = ControlGreeting.CurrentProtocol,
        Vmm = _version,
        Pid = Environment.ProcessId,
        Name = _spec.Name,
    };

    private MachineCondition State =>
        _isStopping || _machine.IsButtonPressed ? MachineCondition.Stopping
        : _isPaused ? MachineCondition.Paused
        : _guest is { IsBooting: true } ? MachineCondition.Booting
        : MachineCondition.Running;

    public void Do(string command, JsonElement? arguments, ControlAnswer answer)
    {
        switch (command)
        {
            case "status":
                answer.Done(Status(), ControlJson.Default.ControlStatus);
                break;
            case "stats":
                answer.Done(MachineStatistics.Of(_machine), ControlJson.Default.ControlStatistics);
                break;
            case "pause":
                Pause(answer);
                break;
            case "resume":
                Resume();
                answer.Done();
                break;
            case "power":
                PressPowerButton();
                answer.Done();
                break;
            case "stop":
                StopArguments stop = arguments is null ? new() : StreamRequests.Read(arguments, ControlJson.Default.StopArguments);
                answer.Done(new ControlStopping(Stop(stop)), ControlJson.Default.ControlStopping);
                break;
            case "kill":
                answer.Done();
                Kill();
                break;
            case "disk-resize":
                DiskArguments disk = StreamRequests.Read(arguments, ControlJson.Default.DiskArguments);
                Try(() => _machine.ResizeDisk(disk.Disk, disk.Bytes));
                answer.Done();
                break;
            case "balloon":
                BalloonArguments balloon = StreamRequests.Read(arguments, ControlJson.Default.BalloonArguments);
                Try(() => _machine.SetBalloonTarget(balloon.Bytes));
                answer.Done();
                break;
            case "snapshot":
                Save(StreamRequests.Read(arguments, ControlJson.Default.SnapshotArguments), answer);
                break;
            case "fork-plan":
                answer.Done(ForkPlan(), ControlJson.Default.ControlForkPlan);
                break;
            case "fork":
                Fork(StreamRequests.Read(arguments, ControlJson.Default.ForkArguments), answer);
                break;
            case "rewind":
                GoBack(answer);
                break;
            case "console":
                OpenConsole(arguments, answer);
                break;
            case "exec":
                ExecArguments exec = StreamRequests.Read(arguments, ControlJson.Default.ExecArguments);
                Check(exec);
                if (_isPaused)
                {
                    throw new ControlException("not-now", "it is paused: resume it first");     // whoever asks would wait for that
                }

                WhenReady(() => Open(answer, guest => ProcessStream.Start(answer.Client, owner => guest.Start(exec, owner))));
                break;
            default:
                throw new ControlException("unknown-command", $"{command}: no such command");
        }
    }

    public void Dispose()
    {
        _heldOrOver.Set();
        _saving?.Join();
        _pausing?.Join();       // at once: vCPUs that have ended count as paused
        _stopTimer?.Dispose();
        _heldOrOver.Dispose();
    }

    private static void Try(Action action)
    {
        try
        {
            action();
        }
        catch (Exception error) when (Failures.IsExpected(error))
        {
            throw new ControlException("failed", Failures.Describe(error));
        }
    }

    private ControlStatus Status() => new()
    {
        State = State,
        Name = _spec.Name,
        Pid = Environment.ProcessId,
        Kernel = _spec.Kernel,
        Memory = _spec.Memory,
        Cpus = _spec.Cpus,
        Uptime = _machine.FirstEntry == 0 ? 0 : Math.Round(Stopwatch.GetElapsedTime(_machine.FirstEntry).TotalSeconds, 3),
        Agent = _guest?.HasAgent ?? false,
    };

    private void TellState() => _tell(new ControlEvent { Event = "state", State = State });

    private void Began()
    {
        TellState();
        DoWaiting();
    }

    private void DoWaiting()
    {
        Action[] waiting = [.. _waiting];
        _waiting.Clear();
        foreach (Action action in waiting)
        {
            action();
        }
    }

    private void OpenConsole(JsonElement? arguments, ControlAnswer answer)
    {
        ConsoleArguments asked = arguments is null ? new() : StreamRequests.Read(arguments, ControlJson.Default.ConsoleArguments);
        var console = new ConsoleStream(
            _machine.Loop, _machine.ConsoleTape!, _machine.ConsoleInput, _machine.ResizeConsole, answer.Client, asked.Replay);
        answer.Done(
            new ControlOpened(console.Number, ConsoleStream.InputWindow, ConsoleStream.OutputWindow), ControlJson.Default.ControlOpened);
        console.Pump();
    }

    private static void Check(ExecArguments exec)
    {
        if (exec.Args.Count == 0 || exec.Args.Concat(exec.Env).Any(static each => each is null || each.Contains('\0', StringComparison.Ordinal))
            || exec.Env.Any(static each => each.IndexOf('=', StringComparison.Ordinal) <= 0))
        {
            throw new ControlException(
                "bad-arguments", "arguments: args takes a program and its arguments, env NAME=VALUE, and neither a NUL character");
        }
    }

    /// <summary>At once, or when the guest has come so far.</summary>
    private void WhenReady(Action action)
    {
        if (_guest is { IsBooting: true } || _isForking || _isHeld)
        {
            _waiting.Add(action);
        }
        else
        {
            action();
        }
    }

    /// <summary>Opens a stream, if the client is still there and the guest can.</summary>
    private void Open(ControlAnswer answer, Func<IControlledGuest, ProcessStream> open)
    {
        if (answer.Client.IsOver)
        {
            return;
        }

        try
        {
            if (_guest is not { HasAgent: true })
            {
                throw new ControlException("no-agent", _guest is null
                    ? "commands can be started in machines of 'vmm run' only: this one has no agent"
                    : "the machine is about to end");
            }

            ProcessStream stream = open(_guest);
            answer.Done(
                new ControlOpened(stream.Number, stream.InputWindow, ProcessStream.OutputWindow), ControlJson.Default.ControlOpened);
        }
        catch (ControlException error)
        {
            answer.Fail(error.Code, error.Message);
        }
    }

    /// <summary>Not here: a vCPU on its way out may wait for this loop.</summary>
    private void Pause(ControlAnswer answer)
    {
        if (_isPaused || _isPausing)
        {
            throw new ControlException("not-now", "it is paused already");
        }

        CheckNotSaving();

        _isPausing = true;
        _pausing = HostThread.Start("vmm-pause", EventLoop.StackSize, () =>
        {
            _machine.Pause();
            _machine.Loop.Post(() =>
            {
                (_isPausing, _isPaused) = (false, true);
                TellState();
                answer.Done();
            });
        });
    }

    private void Resume()
    {
        if (!_isPaused)
        {
            throw new ControlException("not-now", "it is not paused");
        }

        CheckNotSaving();
        _isPaused = false;
        _machine.Resume();
        TellState();
    }

    private void PressPowerButton()
    {
        if (_isPaused || _isPausing)
        {
            throw new ControlException("not-now", "it is paused: it would not notice; resume it first");
        }

        if (!_machine.PressPowerButton())
        {
            throw new ControlException("failed", "nothing in the guest listens to the power button; stop and kill end it all the same");
        }

        TellState();
    }

    /// <returns>False where nothing in the guest listens: it is ended.</returns>
    private bool Stop(StopArguments arguments)
    {
        if (_isPausing)
        {
            throw new ControlException("not-now", "it is being paused");
        }

        CheckNotSaving();

        TimeSpan timeout = arguments.Timeout is { } seconds
            ? seconds is >= 0 and <= 1e6
                ? TimeSpan.FromSeconds(seconds)
                : throw new ControlException("bad-arguments", "arguments.timeout: takes 0 to 1000000 seconds")
            : _machine.StopTimeout;
        if (_isPaused)
        {
            _isPaused = false;      // else it could not shut down
            _machine.Resume();
        }

        _isStopping = true;
        TellState();
        if (_guest is not null ? !_guest.Stop() : !_machine.PressPowerButton())
        {
            _machine.End(MachineEnd.StoppedByControl);
            return false;
        }

        if (timeout > TimeSpan.Zero)
        {
            _stopTimer ??= new LoopTimer(_machine.Loop, () => End(MachineEnd.StopTimedOut(timeout)));
            _stopTimer.Set(timeout);
        }

        return true;
    }

    private void Kill()
    {
        _isStopping = true;
        TellState();
        End(MachineEnd.Killed);
    }

    private void End(MachineEnd end)
    {
        if (_guest is not null)
        {
            _guest.Kill();
        }
        else
        {
            _machine.End(end);
        }
    }
}

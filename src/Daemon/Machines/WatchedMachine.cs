using System.Diagnostics;
using System.Text.Json;
using Vmm.Control;
using Vmm.Daemon.Api;
using Vmm.Named;

namespace Vmm.Daemon.Machines;

/// <summary>One machine: what its files say, and the connection to it while it runs. Any thread.</summary>
internal sealed class WatchedMachine(string name, string directory, string controlSocket, MachineEvents events, TimeSpan patience)
{
    // What does not answer at once holds nobody up, and is not asked again and again.
    private static readonly TimeSpan Courtesy = TimeSpan.FromMilliseconds(500), Backoff = TimeSpan.FromSeconds(5);

    private readonly Lock _lock = new();
    private MachineFile? _file;
    private DateTime _fileTime;
    private string? _fileFault, _linkFault;
    private ControlLink? _link;
    private ControlStatus? _status;
    private MachineCondition _condition;
    private bool _isTaken;
    private long _asked;
    private Task<ControlStatus>? _asking;
    private Task _watching = Task.CompletedTask, _connecting = Task.CompletedTask;
    private long _nextTry;

    public string Name => name;

    public string Directory => directory;

    public string ControlSocket => controlSocket;

    public uint Owner { get; set; }

    /// <summary>Null while it does not run, or does not answer.</summary>
    public ControlLink? Link
    {
        get
        {
            lock (_lock)
            {
                return _link;
            }
        }
    }

    /// <summary>The last of its figures; null before the first.</summary>
    public ControlStatistics? Statistics { get; private set; }

    public bool IsLive => View.State is not (MachineStateName.Exited or MachineStateName.Dead or MachineStateName.Damaged);

    public MachineView View
    {
        get
        {
            lock (_lock)
            {
                return new MachineView
                {
                    Name = name,
                    State = State,
                    Owner = Owner,
                    Kernel = _status?.Kernel ?? _file?.Kernel,
                    Memory = _status?.Memory ?? _file?.Memory,
                    Cpus = _status?.Cpus ?? _file?.Cpus,
                    Pid = _link?.Greeting.Pid,
                    Uptime = _link is null || _status is null ? null : UptimeNow(_status),
                    Agent = _link is null ? null : _status?.Agent,
                    Created = _file?.Created,
                    Started = _file?.Started,
                    Steps = _file?.Steps,
                    Ended = _link is null ? _file?.Ended : null,
                    ExitCode = _link is null ? _file?.ExitCode : null,
                    Verdict = _link is null ? _file?.Verdict : null,
                    Fault = _linkFault ?? _fileFault,
                };
            }
        }
    }

    private MachineStateName State =>
        _link is not null ? _condition switch
        {
            MachineCondition.Booting => MachineStateName.Starting,
            MachineCondition.Paused => MachineStateName.Paused,
            MachineCondition.Stopping => MachineStateName.Stopping,
            _ => MachineStateName.Running,
        }
        : _linkFault is not null ? MachineStateName.Silent
        : _file is null ? MachineStateName.Damaged
        : _file is { Ended: not null } ? _isTaken && _file.Again is not null ? MachineStateName.Restarting : MachineStateName.Exited
        : _file.Foreground && !System.IO.Directory.Exists(directory) ? MachineStateName.Exited
        : _isTaken ? MachineStateName.Starting
        : MachineStateName.Dead;

    /// <summary>Reads its files, where they changed, and connects to it, where it can be connected to.</summary>
    /// <returns>When that has come to something, or takes longer than others should wait for it.</returns>
    public async Task LookAsync(CancellationToken stopping)
    {
        ReadFile();
        if (!_watching.IsCompleted || !_connecting.IsCompleted)
        {
            return;
        }

        if (!File.Exists(controlSocket))
        {
            SetTaken();
            SetFault(Deaf());
            return;
        }

        if (Environment.TickCount64 >= _nextTry)
        {
            _connecting = ConnectAsync(stopping);
            if (await Task.WhenAny(_connecting, Task.Delay(Courtesy, stopping)) != _connecting)
            {
                SetFault("it does not answer");
            }
        }
    }

    /// <summary>Waits until it is known whether it answers.</summary>
    public async Task WhenConnectedAsync() => await _connecting.WaitAsync(patience).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);

    private async Task ConnectAsync(CancellationToken stopping)
    {
        ControlLink? link = null;
        try
        {
            link = await ControlLink.ConnectAsync(controlSocket, patience, Hear, stopping);
            await link.AskAsync("events", null, patience, stopping);
            ControlStatus status = await link.AskAsync("status", null, ControlJson.Default.ControlStatus, stopping);
            lock (_lock)
            {
                (_link, _linkFault) = (link, null);
                Take(status);
            }

            Tell("state");
            _watching = WatchAsync(link);
        }
        catch (Exception error) when (error is MachineException or OperationCanceledException)
        {
            if (link is not null)
            {
                await link.DisposeAsync();
            }

            if (error is MachineException machine)
            {
                bool isGone = machine.Code == "not-running";
                _nextTry = Environment.TickCount64 + (isGone ? 0 : (long)Backoff.TotalMilliseconds);
                SetFault(isGone ? Deaf() : machine.Message);
            }
        }
    }

    /// <summary>Asks it how it is; those who ask at the same time share the answer.</summary>
    /// <exception cref="MachineException">It does not answer.</exception>
    public async Task RefreshAsync(CancellationToken cancellation)
    {
        Task<ControlStatus> asking;
        lock (_lock)
        {
            if (_link is not { } link)
            {
                return;
            }

            // Not with the caller's token: the answer is not only for this one.
            asking = _asking is { IsCompleted: false } other
                ? other
                : _asking = link.AskAsync("status", null, ControlJson.Default.ControlStatus, CancellationToken.None);
        }

        ControlStatus status = await asking.WaitAsync(cancellation);
        lock (_lock)
        {
            Take(status);
        }
    }

    public async Task<ControlStatistics> AskStatisticsAsync(CancellationToken cancellation) =>
        Statistics = await Running().AskAsync("stats", null, ControlJson.Default.ControlStatistics, cancellation);

    public Task<JsonElement> AskAsync(string command, JsonElement? arguments, CancellationToken cancellation) =>
        Running().AskAsync(command, arguments, patience, cancellation);

    /// <exception cref="MachineException">It does not run, or does not answer.</exception>
    public ControlLink Running() => Link ?? throw (View is { State: MachineStateName.Silent, Fault: { } fault }
        ? new MachineException("no-answer", fault)
        : new MachineException("not-running", "the machine does not run"));

    /// <summary>Lets it go on without being watched.</summary>
    public async Task LeaveAsync()
    {
        await Task.WhenAny(_connecting, Task.Delay(Courtesy));
        if (Link is { } link)
        {
            await link.DisposeAsync();
            await _watching;
        }
    }

    public void Tell(string happened, MachineStateName? state = null) => events.Tell(new MachineEvent
    {
        Id = 0,
        Time = default,
        Machine = name,
        Event = happened,
        State = state ?? View.State,
        Owner = Owner,
    });

    private static bool IsOf(ControlEvent happened, string what) => happened.Event == what;

    private async Task WatchAsync(ControlLink link)
    {
        await link.Ended;
        lock (_lock)
        {
            (_link, _status, Statistics) = (null, null, null);
        }

        ReadFile(always: true);
        SetTaken();
        Tell("state");
    }

    private void Hear(ControlEvent happened)
    {
        if (IsOf(happened, "state") && happened.State is { } state)
        {
            lock (_lock)
            {
                _condition = state;
                if (_link is null)
                {
                    return;     // told when all is known
                }
            }

            Tell("state");
        }
        else if (IsOf(happened, "complaint") || IsOf(happened, "ended"))
        {
            events.Tell(new MachineEvent
            {
                Id = 0,
                Time = default,
                Machine = name,
                Event = happened.Event,
                Kind = happened.Kind,
                Text = happened.Text ?? happened.Message,
                Code = happened.Code,
                Owner = Owner,
            });
        }
    }

    private void Take(ControlStatus status) => (_status, _condition, _asked) = (status, status.State, Stopwatch.GetTimestamp());

    private double UptimeNow(ControlStatus status) =>
        status.Uptime == 0 ? 0 : Math.Round(status.Uptime + Stopwatch.GetElapsedTime(_asked).TotalSeconds, 3);

    /// <summary>Why nobody listens, if it is not that it has ended.</summary>
    private string? Deaf() =>
        _file is { Started: not null, Ended: null } && _isTaken ? "it runs, and does not listen at its control socket" : null;

    private void SetTaken()
    {
        bool isTaken = MachineFile.IsTaken(directory);
        lock (_lock)
        {
            _isTaken = isTaken;
        }
    }

    private void SetFault(string? fault)
    {
        bool isNew;
        lock (_lock)
        {
            isNew = _linkFault is null != fault is null;
            _linkFault = fault;
        }

        if (isNew)
        {
            Tell("state");
        }
    }

    public bool IsForeground
    {
        get
        {
            lock (_lock)
            {
                return _file is { Foreground: true };
            }
        }
    }

    /// <summary>Its runs as far as they are kept, the last one first.</summary>
    public IReadOnlyList<MachineRun> ReadRuns()
    {
        ReadFile();
        MachineFile? file;
        lock (_lock)
        {
            file = _file;
        }

        return file is null ? [] : RunHistory.Of(file, directory);
    }

    private void ReadFile(bool always = false)
    {
        DateTime time = File.GetLastWriteTimeUtc(Path.Combine(directory, "machine.json"));
        lock (_lock)
        {
            if (always || time != _fileTime)
            {
                _file = MachineFile.Read(directory, out _fileFault) ?? _file;
                _fileTime = time;
            }
        }
    }
}

using System.Globalization;
using Vmm.Backends.Agent;
using Vmm.Backends.Console;
using Vmm.Devices.Bus;
using Vmm.Devices.Legacy;
using Vmm.Devices.Virtio;
using Vmm.Devices.Virtio.Vsock;
using Vmm.Host;
using Vmm.Machines;
using Vmm.Run.Results;

namespace Vmm.Run;

/// <summary>One command in one temporary machine, from the options to the result.</summary>
/// <remarks>All but the constructor, <see cref="Complete"/> and Dispose runs on the event loop's thread, or before it
/// starts.</remarks>
internal sealed partial class GuestRun : IMachineGuest, IAgentOwner, IAgentProcessOwner
{
    /// <summary>Most kernels look for four or for 32 serial ports. COM2 connects the agent where there is no vsock.</summary>
    private const string SecondPortWord = "8250.nr_uarts=2";

    private const int StandardInput = 0, StandardOutput = 1, StandardError = 2;

    private static readonly TimeSpan Hurried = TimeSpan.FromSeconds(1);

    private readonly RunOptions _options;
    private readonly AgentSession _session;
    private readonly List<IDisposable> _owned = [];
    private Machine _machine = null!;
    private EventLoop _loop = null!;
    private readonly RunRecorder _recorder;
    private ConsoleOutput? _echo;
    private Serial16550 _console = null!;
    private FileDescriptor _socketEnd = null!, _serialEnd = null!;
    private readonly Terminal? _terminal;
    private readonly Action<Machine>? _up;
    private LoopTimer _timer = null!;
    private RunSignals _signals = null!;
    private StreamOutput _output = null!, _error = null!;
    private StreamInput? _input;
    private AgentSockets _sockets = null!;
    private AgentProcess? _process;
    private RunPhase _phase;
    private RunVerdict? _verdict;
    private IReadOnlyList<string> _findings = [];
    private long _consoleMark;
    private Action<Machine>? _whenBooted;
    private HostThread? _saving;
    private ReadOnlyMemory<byte>? _initramfs;
    private bool _isRestored;

    /// <param name="recorder">Records all events; not owned.</param>
    /// <param name="up">Called once the command runs, or the machine is ready where there is none.</param>
    public GuestRun(RunOptions options, RunRecorder recorder, Action<Machine>? up = null)
    {
        (_options, _recorder, _up) = (options, recorder, up);
        _session = new AgentSession(this);
        _terminal = options.Terminal
            ? Terminal.TryOpen(StandardInput) ?? throw new UsageException("-t: standard input is no terminal; leave -t out in scripts")
            : null;
    }

    /// <remarks>Made when it is asked for: a machine that goes on needs none.</remarks>
    public ReadOnlyMemory<byte> Initramfs => _initramfs ??= RunInitramfs.Make(withBusybox: !_options.HasRoot, _options.Modules);

    /// <summary>The files that it is made of.</summary>
    public IReadOnlyList<string> InitramfsSources => RunInitramfs.Sources(withBusybox: !_options.HasRoot, _options.Modules);

    /// <summary>Warnings and errors only: each byte of output costs an exit, and the causes of failures are among them.</summary>
    public IReadOnlyList<string> KernelWords => _options.ShowConsole
        ? [$"rdinit={RunInitramfs.Agent}", SecondPortWord]
        : [$"rdinit={RunInitramfs.Agent}", SecondPortWord, "loglevel=5"];

    public long ConsoleBytes => _recorder.Console.Total;

    /// <summary>The machine was restored from where it had booted, and its guest is gone: it has said nothing, and nobody has told it
    /// to end.</summary>
    public bool IsUnheard => _isRestored && _fork is null && !_session.HasArrived && _verdict is null;

    /// <summary>Has the machine saved when its guest has booted and waits to be told what to do. Before it runs.</summary>
    /// <param name="save">On a thread of its own.</param>
    public void WhenBooted(Action<Machine> save) => _whenBooted = save;

    /// <summary>The machine is one that was saved when it had booted. Before it runs.</summary>
    public void SetRestored() => _isRestored = true;

    public void Attach(Machine machine)
    {
        _machine = machine;
        machine.Complained += _recorder.Complaints.Add;
    }

    public void Open(EventLoop loop)
    {
        _loop = loop;
        _echo = _options.ShowConsole ? Own(new ConsoleOutput(_loop, Duplicate(StandardError))) : null;
        (FileDescriptor ours, _socketEnd) = UnixSocket.CreatePair();
        _session.Listen(_loop, ours, isSerial: false);
        (ours, _serialEnd) = UnixSocket.CreatePair();
        _session.Listen(_loop, ours, isSerial: true);
        Own(_serialEnd);
        _timer = Own(new LoopTimer(_loop, Elapsed));
        _signals = Own(new RunSignals(_loop, Forward, EndBySignal, Resized));
        const int Window = (int)AgentProtocol.OutputWindow;
        _output = Own(new StreamOutput(
            _loop, StandardOutput, "standard output", Window, n => _process!.Consumed(false, n), _ => Broken(false)));
        _error = Own(new StreamOutput(
            _loop, StandardError, "standard error", Window, n => _process!.Consumed(true, n), _ => Broken(true)));
    }

    public Serial16550 FirstPort(IInterruptLine interrupt, IConsoleTap watch)
    {
        _console = new Serial16550(GuestConsole.FirstPort, new TappedOutput(new RunConsole(_recorder.Console, _echo, _recorder.Log), watch), interrupt);
        if (_echo is not null)
        {
            _echo.Drained += _console.OutputDrained;
        }

        return _console;
    }

    public Serial16550 SecondPort(IInterruptLine interrupt)
    {
        var output = Own(new ConsoleOutput(_loop, _serialEnd.Number));
        var port = new Serial16550("COM2", output, interrupt);
        output.Drained += port.OutputDrained;
        var input = Own(new ConsoleInput(_loop, Duplicate(_serialEnd.Number), terminal: null, port, output, _ => { }));
        _loop.Post(input.Start);
        return port;
    }

    public IVsockHost Sockets(IVsockHost? others)
    {
        ErrnoException.Check(LibC.fcntl(_socketEnd.Number, LibC.F_SETFL, LibC.O_RDWR | LibC.O_NONBLOCK), "fcntl");
        return _sockets = Own(new AgentSockets(_loop, others, _socketEnd));
    }

    public void Starting()
    {
        Stderr.BeginRun();
        _terminal?.Take();
        _timer.Set(BootTimeout);
        AwaitBoot();
    }

    /// <summary>The machine has ended: writes the rest of the output, and reports the result.</summary>
    /// <param name="tell">Writes further reports, once the command's output is written; gets the result, also as text.</param>
    /// <returns>The exit code.</returns>
    public int Complete(MachineEnd end, Action<RunVerdict, string> tell)
    {
        RunVerdict verdict = end.Kind == MachineEndKind.HostFailed || _verdict is null
            ? RunVerdict.Of(end, _options, _session.HasArrived)
            : _verdict;
        Flush(_output, ref verdict);
        Flush(_error, ref verdict);
        _echo?.Flush(Hurried);
        _terminal?.Restore();
        Stderr.EndRun();
        if ((_input?.Failure ?? FailureOf(_output) ?? FailureOf(_error)) is { } failure && verdict.Code != RunVerdict.TimedOut)
        {
            verdict = RunVerdict.Failed(failure.Message);
        }

        IReadOnlyList<string> console = ConsoleExcerpt.Last(_recorder.Console, _consoleMark);
        verdict = _recorder.Finish(verdict, _machine.FirstEntry, console);
        tell(verdict, verdict.Message ?? string.Create(CultureInfo.InvariantCulture, $"the command ended with {verdict.Code}"));
        VerdictText.Write(verdict, _findings, _options.ShowConsole ? null : console, _recorder.Decisive);
        LastSignals.Hold();
        return verdict.Code;
    }

    /// <summary>The machine has ended, and is not disposed of yet.</summary>
    public void WaitForSaving() => _saving?.Join();

    public void Dispose()
    {
        _terminal?.Restore();
        for (int i = _owned.Count - 1; i >= 0; i--)
        {
            _owned[i].Dispose();
        }

        _session.Dispose();
    }

    void IAgentOwner.Arrived(string kernel)
    {
        if (!_isGoingBack)
        {
            _recorder.Arrived(kernel);
        }

        if (_fork is not null)
        {
            return;     // what runs in it comes next
        }

        if (_whenBooted is not { } save || _session.IsSerial || _recorder.Complaints.Total > 0)
        {
            Begin();
            return;
        }

        // The loop stands still meanwhile, and the guest with it.
        _saving = HostThread.Start("vmm-save", EventLoop.StackSize, () =>
        {
            save(_machine);
            _loop.Post(Begin);
        });
    }

    /// <summary>Tells the agent what to do.</summary>
    private void Begin()
    {
        RunSetup.Send(_session, _options, _isRestored);
        if (_options.Command.Count == 0)
        {
            Stay();
            return;
        }

        (ushort rows, ushort columns) = Terminal.SizeOf(StandardInput);
        AgentStartFlags flags = (_options.Terminal ? AgentStartFlags.Terminal : 0)
            | (_options.HasRoot ? 0 : AgentStartFlags.Applets);
        _process = _session.Start(
            new AgentCommand
            {
                Arguments = _options.Command,
                Environment = _options.Environment,
                Directory = _options.Directory,
                User = _options.User,
                Flags = flags,
                Rows = rows,
                Columns = columns,
            },
            this);
    }

    void IAgentOwner.Noted(string text)
    {
        if (_options.ShowConsole)
        {
            Stderr.WriteLine($"vmm: the guest's agent: {text}");
        }
    }

    void IAgentOwner.Failed(string why)
    {
        if (_verdict is not null)
        {
            return;
        }

        if (IsUnheard)
        {
            EndMachine();       // and it boots instead
            return;
        }

        if (!_session.HasArrived || (_process is null ? _phase == RunPhase.Booting : _process.GuestPid == 0))
        {
            Finish(RunVerdict.NotStarted(why, showConsole: true));
            return;
        }

        // The guest may already be shutting down by itself: then that is the result.
        _findings = [why];
        _phase = RunPhase.Lost;
        _timer.Set(Patience);
    }

    void IAgentOwner.SaidGoodbye() => EndMachine();

    void IAgentProcessOwner.Started(AgentProcess process)
    {
        if (_fork is not null)
        {
            _process = process;     // the machine stands still until it is told to go on
            return;
        }

        if (_phase != RunPhase.Booting)
        {
            return;
        }

        _phase = RunPhase.Running;
        _recorder.CommandBegan();
        _up?.Invoke(_machine);
        Began?.Invoke();
        if (_options.Timeout is { } timeout)
        {
            _timer.Set(timeout);
        }

        _input = Own(new StreamInput(
            _loop, StandardInput, process, _options.Terminal ? () => EndBySignal(LibC.SIGINT) : null, _recorder.Input));
    }

    void IAgentProcessOwner.Wrote(AgentProcess process, bool isError, ReadOnlySpan<byte> bytes)
    {
        _recorder.Wrote(isError, bytes);
        (isError ? _error : _output).Write(bytes);
    }

    void IAgentProcessOwner.WantsInput(AgentProcess process) => _input?.Continue();

    void IAgentProcessOwner.ClosedInput(AgentProcess process) => _input?.Stop();

    void IAgentProcessOwner.Ended(AgentProcess process, in AgentExit exit)
    {
        _input?.Stop();
        _recorder.CommandEnded();
        if (_phase == RunPhase.TimedOut)
        {
            return;     // that is the result already; the guest's kernel may still be writing its report
        }

        _verdict ??= RunVerdict.Of(exit, _options);
        if (!_options.KeepsRoot)
        {
            EndMachine();
            return;
        }

        Leave();
    }

    /// <summary>The command gets SIGPIPE, as it would on this host.</summary>
    private void Broken(bool isError) => _process?.Abandon(isError);

    private void Flush(StreamOutput output, ref RunVerdict verdict)
    {
        if (_signals.Flush(output) is { } signal)
        {
            verdict = RunVerdict.StoppedBy(signal);
        }
    }

    /// <summary>A reader that has gone is none.</summary>
    private static ErrnoException? FailureOf(StreamOutput output) => output.Failure is { Errno: not ErrnoException.EPIPE } failure ? failure : null;

    private bool Forward(int signal)
    {
        if (_phase != RunPhase.Running || _isGoingBack)
        {
            return false;
        }

        if (_process is null)
        {
            Stop($"stopped by {SignalNames.Of(signal)}");
        }
        else
        {
            _process.Signal(signal);
        }

        return true;
    }

    private void EndBySignal(int signal) => Finish(RunVerdict.StoppedBy(signal));

    private void Resized()
    {
        (ushort rows, ushort columns) = Terminal.SizeOf(StandardInput);
        _process?.Resize(rows, columns);
    }

    private void Finish(RunVerdict verdict)
    {
        _verdict ??= verdict;
        EndMachine();
    }

    private void EndMachine()
    {
        _phase = RunPhase.Over;
        _machine.End(MachineEnd.CommandEnded);
    }

    /// <summary>Another number for a descriptor, because the loop watches each number once.</summary>
    private int Duplicate(int fd) => Own(FileDescriptor.Duplicate(fd)).Number;

    private T Own<T>(T part)
        where T : IDisposable
    {
        _owned.Add(part);
        return part;
    }
}

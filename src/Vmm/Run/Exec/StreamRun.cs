using System.Text.Json;
using Vmm.Backends.Agent;
using Vmm.Backends.Console;
using Vmm.Control;
using Vmm.Host;
using Vmm.Machines;
using Vmm.Run.Results;

namespace Vmm.Run.Exec;

/// <summary>A stream of a machine's control socket on this process's standard streams: <c>vmm exec</c>, <c>vmm attach</c>.</summary>
/// <remarks>All on the thread that calls <see cref="Run"/>, but for what waits for standard output and error.</remarks>
internal sealed class StreamRun : IInputSink, IDisposable
{
    private const int StandardInput = 0, StandardOutput = 1, StandardError = 2;
    private const ulong Asking = 1, Opening = 2;

    private readonly StreamCall _call;
    private readonly EventLoop _loop = new();
    private readonly List<IDisposable> _owned = [];
    private readonly ControlConnection _machine;
    private readonly Terminal? _terminal;
    private readonly DetachKeys? _detach;
    private readonly RunSignals _signals;
    private readonly LoopTimer _patience;
    private readonly byte[] _typed = new byte[ControlConnection.MostChunk], _kept = new byte[ControlConnection.MostChunk];
    private StreamOutput? _output, _error;
    private StreamInput? _input;
    private uint _stream;
    private bool _isGreeted, _isAnswering;
    private RunVerdict? _verdict;

    /// <exception cref="UsageException">Standard input is no terminal.</exception>
    /// <exception cref="HostException">Nobody listens there.</exception>
    public StreamRun(StreamCall call)
    {
        _call = call;
        _terminal = call.Terminal
            ? Terminal.TryOpen(StandardInput) ?? throw new UsageException("-t: standard input is no terminal; leave -t out in scripts")
            : null;
        _detach = call.Exec is null && _terminal is not null ? new DetachKeys() : null;
        FileDescriptor socket = ControlClient.Connect(call.Path, call.Name, ControlClient.DefaultPatience);
        _machine = Own(new ControlConnection(_loop, socket, (_, line) => Hear(line.Span), _ => Lost()));
        _signals = Own(new RunSignals(_loop, Forward, signal => _verdict ??= RunVerdict.StoppedBy(signal), Resize));
        _patience = Own(new LoopTimer(_loop, () => _verdict ??= RunVerdict.Failed("the machine does not answer")));
    }

    public uint InputCredit { get; private set; }

    /// <returns>How it ended; the message is without the machine's name.</returns>
    public RunVerdict Run()
    {
        _patience.Set(ControlClient.DefaultPatience);
        while (_verdict is null)
        {
            _loop.Turn(-1);
        }

        _input?.Stop();
        RunVerdict verdict = _verdict;
        Flush(_output, ref verdict);
        Flush(_error, ref verdict);
        _terminal?.Restore();
        return _input?.Failure is { } failure ? RunVerdict.Failed(failure.Message) : verdict;
    }

    public Span<byte> ReserveInput() =>
        _typed.AsSpan(0, (int)Math.Min((long)InputCredit - (_detach is null ? 0 : 1), _typed.Length - 1) is > 0 and var room ? room : 0);

    public void PutInput(int length)
    {
        ReadOnlySpan<byte> typed = _typed.AsSpan(0, length);
        if (_detach?.Filter(typed, _kept, out int kept) is { } isOver)
        {
            if (isOver)
            {
                _verdict ??= new RunVerdict(RunOutcome.Passed, ExitCodes.Success);
            }

            if (kept == 0)
            {
                return;
            }

            typed = _kept.AsSpan(0, kept);
        }

        InputCredit -= (uint)typed.Length;
        _machine.SendChunk("{\"command\":\"input\",\"arguments\":{"u8, _stream, typed, "}}"u8);
    }

    public void Dispose()
    {
        _terminal?.Restore();
        for (int i = _owned.Count - 1; i >= 0; i--)
        {
            _owned[i].Dispose();
        }

        _loop.Dispose();
    }

    private void Hear(ReadOnlySpan<byte> line)
    {
        if (_verdict is not null)
        {
            return;
        }

        if (!_isGreeted)
        {
            // It must answer something before anything is started in it: a guest that boots may take its time for that.
            ControlClient.Greet(line, _call.Name);
            _isGreeted = true;
            _machine.Send(new ControlRequest { Id = Asking, Command = _call.Exec is null ? "events" : "status" }, ControlJson.Default.ControlRequest);
            return;
        }

        try
        {
            if (line.StartsWith("{\"event\":"u8))
            {
                Happen(JsonSerializer.Deserialize(line, ControlJson.Default.ControlEvent)!);
            }
            else
            {
                Answered(JsonSerializer.Deserialize(line, ControlJson.Default.ControlReply));
            }
        }
        catch (JsonException)
        {
            _verdict = RunVerdict.Failed(ControlClient.NoMachine);
        }
    }

    private void Answered(ControlReply? reply)
    {
        switch (reply)
        {
            case null:
                _verdict = RunVerdict.Failed(ControlClient.NoMachine);
                break;
            case { Id: Asking or Opening, Error: { } error }:
                _verdict = RunVerdict.Failed(Text.PrintableText.Of(error.Message));
                break;
            case { Id: Asking } when !_isAnswering:
                _isAnswering = true;
                _patience.Stop();
                _machine.Send(_call.Request(Opening), ControlJson.Default.ControlRequest);
                break;
            case { Id: Opening } when _isAnswering && _stream == 0:
                Open(reply);
                break;
        }
    }

    private void Open(ControlReply reply)
    {
        if (reply.Result?.Deserialize(ControlJson.Default.ControlOpened) is not { } opened || !opened.IsPossible())
        {
            _verdict = RunVerdict.Failed(ControlClient.NoMachine);
            return;
        }

        _stream = opened.Stream;
        InputCredit = opened.InputWindow;
        int window = (int)Math.Min(opened.OutputWindow, AgentProtocol.OutputWindow);
        _output = Own(new StreamOutput(
            _loop, StandardOutput, "standard output", window, bytes => GiveCredit(StandardOutput, bytes), _ => Break(StandardOutput)));
        if (_call.Exec is not null)
        {
            _error = Own(new StreamOutput(
                _loop, StandardError, "standard error", window, bytes => GiveCredit(StandardError, bytes), _ => Break(StandardError)));
        }

        if (_call.Exec is null)
        {
            // Reported without being asked for: an error, where its reader has gone. Else the console's next line would tell. A process
            // in the guest gets SIGPIPE when it writes, and no sooner.
            _ = _loop.TryAdd(StandardOutput, 0, _ => Break(StandardOutput), "standard output");
        }

        _terminal?.Take();
        if (_terminal is not null)
        {
            Resize();
        }

        if (_call.Input)
        {
            _input = Own(new StreamInput(_loop, StandardInput, this, _terminal is null ? null : Escape));
        }
        else
        {
            PutInput(0);
        }
    }

    private void Happen(ControlEvent happened)
    {
        switch (happened.Event)
        {
            case "ended" when _call.Exec is null:
                _verdict = new RunVerdict(RunOutcome.Stopped, happened.Code ?? ExitCodes.HostCannot, happened.Message);
                break;
            case var _ when happened.Stream != _stream || _output is null:
                break;
            case "output" when (happened.Fd == StandardError ? _error : _output) is { } output && happened.Data is { } data:
                output.Write(data);
                break;
            case "credit":
                InputCredit += (uint)(happened.Bytes ?? 0);
                _input?.Continue();
                break;
            case "input-closed":
                _input?.Stop();
                break;
            case "exited" when _call.Exec is { } exec:
                var exit = new AgentExit(EndingNames.EndingOf(happened.How), happened.Value ?? 0, default, default, 0);
                _verdict = RunVerdict.Of(exit, exec.Args[0], exec.Cwd, exec.User);
                break;
        }
    }

    private void Lost() => _verdict ??= RunVerdict.Failed(_isGreeted ? "the machine has ended" : ControlClient.NoMachine);

    /// <summary>Ctrl-C three times within a second.</summary>
    private void Escape()
    {
        if (_call.Exec is not null)
        {
            _verdict ??= RunVerdict.StoppedBy(LibC.SIGINT);
        }
    }

    private bool Forward(int signal)
    {
        if (_call.Exec is null || _stream == 0)
        {
            return false;
        }

        Tell("signal", JsonSerializer.SerializeToElement(new SignalArguments(_stream, signal), ControlJson.Default.SignalArguments));
        return true;
    }

    private void Resize()
    {
        if (_terminal is not null && _stream != 0)
        {
            (ushort rows, ushort columns) = Terminal.SizeOf(StandardInput);
            Tell("resize", JsonSerializer.SerializeToElement(new ResizeArguments(_stream, rows, columns), ControlJson.Default.ResizeArguments));
        }
    }

    private void GiveCredit(int fd, int bytes) =>
        Tell("credit", JsonSerializer.SerializeToElement(new CreditArguments(_stream, fd, (uint)bytes), ControlJson.Default.CreditArguments));

    /// <summary>The process notices, as it would on this host: SIGPIPE. Of a console nothing more is wanted.</summary>
    private void Break(int fd)
    {
        Tell("close", JsonSerializer.SerializeToElement(new CloseArguments(_stream, fd), ControlJson.Default.CloseArguments));
        if (_call.Exec is null)
        {
            _verdict ??= new RunVerdict(RunOutcome.Passed, ExitCodes.Success);      // what else failed than its reader, Flush says
        }
    }

    private void Tell(string command, JsonElement arguments) =>
        _machine.Send(new ControlRequest { Command = command, Arguments = arguments }, ControlJson.Default.ControlRequest);

    private void Flush(StreamOutput? output, ref RunVerdict verdict)
    {
        if (output is null)
        {
            return;
        }

        if (_signals.Flush(output) is { } signal)
        {
            verdict = RunVerdict.StoppedBy(signal);
        }
        else if (output.Failure is { Errno: not ErrnoException.EPIPE } failure)
        {
            verdict = RunVerdict.Failed(failure.Message);
        }
    }

    private T Own<T>(T part)
        where T : IDisposable
    {
        _owned.Add(part);
        return part;
    }
}

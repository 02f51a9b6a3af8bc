using Vmm.Backends.Agent;
using Vmm.Host;

namespace Vmm.Control;

/// <summary>A process of the guest for one client. On the event loop's thread.</summary>
/// <remarks>What the client has no room for waits here, and is never more than a window of the agent's protocol, since the guest gets
/// credit only for what the client gave credit for.</remarks>
internal sealed class ProcessStream : IControlDuplex, IAgentProcessOwner
{
    public const int OutputWindow = (int)AgentProtocol.OutputWindow;

    private readonly ControlConnection _client;
    private readonly Output _output = new(), _error = new();
    private AgentProcess _process = null!;
    private AgentExit? _exit;
    private uint _inputCredit;
    private bool _isOver, _inputEnded;

    private ProcessStream(ControlConnection client)
    {
        _client = client;
        Number = client.Add(this) ?? throw StreamRequests.TooMany();
    }

    public uint Number { get; }

    /// <summary>Bytes of input that may come.</summary>
    public uint InputWindow { get; private set; }

    /// <param name="start">Has the agent start it, for the owner that it is given.</param>
    /// <exception cref="ControlException">The client has too many streams.</exception>
    public static ProcessStream Start(ControlConnection client, Func<IAgentProcessOwner, AgentProcess> start)
    {
        var stream = new ProcessStream(client);
        stream._process = start(stream);
        stream.InputWindow = stream._inputCredit = stream._process.InputCredit;
        return stream;
    }

    public void Pump()
    {
        Pump(_output, "{\"event\":\"output\",\"fd\":1,"u8);
        Pump(_error, "{\"event\":\"output\",\"fd\":2,"u8);
        if (_exit is { } exit && _output.Waiting.Count == 0 && _error.Waiting.Count == 0 && !_isOver)
        {
            _isOver = true;
            _client.Send(
                new ControlEvent { Event = "exited", Stream = Number, How = EndingNames.NameOf(exit.How), Value = exit.Value }, ControlJson.Default.ControlEvent);
            _client.Remove(Number);
        }
    }

    public void Input(ReadOnlySpan<byte> data)
    {
        if (data.Length > _inputCredit || data.Length > ControlConnection.MostChunk)
        {
            throw StreamRequests.TooMuch();
        }

        if (_process.HasEnded || _inputEnded)
        {
            return;
        }

        _inputEnded = data.IsEmpty;
        _inputCredit -= (uint)data.Length;
        data.CopyTo(_process.ReserveInput());
        _process.PutInput(data.Length);
    }

    public void Credit(int fd, uint bytes)
    {
        Output output = Find(fd);
        if (bytes > OutputWindow - output.Credit)
        {
            throw new ControlException("bad-arguments", "more credit than there was output");
        }

        output.Credit += (int)bytes;
        _process.Consumed(fd == 2, (int)bytes);
        Pump();
    }

    public void Signal(int number)
    {
        if (number is < 1 or > 64)
        {
            throw new ControlException("bad-arguments", "arguments.signal: takes 1 to 64");
        }

        _process.Signal(number);
    }

    public void Resize(ushort rows, ushort columns) => _process.Resize(rows, columns);

    public void Close(int? fd)
    {
        if (fd is { } one)
        {
            Abandon(Find(one), isError: one == 2);
            Pump();
            return;
        }

        Leave();
        _client.Remove(Number);
    }

    /// <summary>The process is told as by a terminal that was hung up.</summary>
    public void Leave()
    {
        if (_isOver)
        {
            return;
        }

        _isOver = true;
        Abandon(_output, isError: false);
        Abandon(_error, isError: true);
        if (!_process.HasEnded)
        {
            _process.Signal(LibC.SIGHUP);
            if (!_inputEnded)
            {
                _process.PutInput(0);
            }
        }
    }

    void IAgentProcessOwner.Started(AgentProcess process)
    {
    }

    void IAgentProcessOwner.Wrote(AgentProcess process, bool isError, ReadOnlySpan<byte> bytes)
    {
        Output output = isError ? _error : _output;
        if (output.IsAbandoned)
        {
            process.Consumed(isError, bytes.Length);
            return;
        }

        output.Waiting.Add(bytes);
        Pump();
    }

    void IAgentProcessOwner.WantsInput(AgentProcess process)
    {
        uint more = process.InputCredit - _inputCredit;
        _inputCredit = process.InputCredit;
        if (!_isOver)
        {
            _client.Send(new ControlEvent { Event = "credit", Stream = Number, Bytes = more }, ControlJson.Default.ControlEvent);
        }
    }

    void IAgentProcessOwner.ClosedInput(AgentProcess process)
    {
        _inputEnded = true;
        if (!_isOver)
        {
            _client.Send(new ControlEvent { Event = "input-closed", Stream = Number }, ControlJson.Default.ControlEvent);
        }
    }

    void IAgentProcessOwner.Ended(AgentProcess process, in AgentExit exit)
    {
        _exit = exit;
        Pump();
    }

    private Output Find(int fd) => fd switch
    {
        1 => _output,
        2 => _error,
        _ => throw new ControlException("bad-arguments", "arguments.fd: there are 1 and 2"),
    };

    private void Pump(Output output, ReadOnlySpan<byte> front)
    {
        while (output.Waiting.Count > 0 && output.Credit > 0 && _client.HasRoom && !_isOver)
        {
            ReadOnlySpan<byte> chunk = output.Waiting.Peek(Math.Min(output.Credit, ControlConnection.MostChunk));
            _client.SendChunk(front, Number, chunk, "}"u8);
            output.Credit -= chunk.Length;
            output.Waiting.Remove(chunk.Length);
        }
    }

    /// <summary>Nobody reads it any more: what waits is out of the way, and the process gets SIGPIPE.</summary>
    private void Abandon(Output output, bool isError)
    {
        if (!output.IsAbandoned)
        {
            output.IsAbandoned = true;
            _process.Consumed(isError, output.Waiting.Count);
            output.Waiting.Remove(output.Waiting.Count);
            _process.Abandon(isError);
        }
    }

    private sealed class Output
    {
        public ByteQueue Waiting { get; } = new();

        public int Credit { get; set; } = OutputWindow;

        public bool IsAbandoned { get; set; }
    }
}

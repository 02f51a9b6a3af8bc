using System.Diagnostics;
using System.Globalization;
using System.Text;
using Vmm.Backends.Agent;
using Vmm.Host;
using Vmm.Tests.Shared;

namespace Vmm.Tests.Agent;

/// <summary>The agent itself as an ordinary process of this host, at the other end of a socket pair; and the side of vmm
/// on an event loop that the test turns.</summary>
internal sealed class AgentHarness : IAgentOwner, IAgentProcessOwner, IDisposable
{
    private const int Patience = 60_000;

    private readonly EventLoop _loop = new();
    private readonly AgentSession _session;
    private readonly Process _program;
    private readonly Dictionary<AgentProcess, Streams> _streams = [];

    public AgentHarness()
    {
        _session = new AgentSession(this);
        (FileDescriptor ours, FileDescriptor theirs) = UnixSocket.CreatePair();
        using (theirs)
        {
            _program = StartWith(theirs);
        }

        _session.Listen(_loop, ours, isSerial: false);
        Wait(() => _session.HasArrived);
    }

    public string? Kernel { get; private set; }

    public string? Failure { get; private set; }

    public bool HasSaidGoodbye { get; private set; }

    public List<string> Notes { get; } = [];

    public AgentSession Session => _session;

    public EventLoop Loop => _loop;

    public IEnumerable<(AgentProcess Process, Streams Streams)> Processes => _streams.Select(each => (each.Key, each.Value));

    /// <summary>How one process ended, and its output.</summary>
    public sealed class Streams
    {
        public MemoryStream Output { get; } = new();

        public MemoryStream Error { get; } = new();

        public AgentExit? Exit { get; set; }

        /// <summary>What it is to read; null once all was sent.</summary>
        public byte[]? Input { get; set; }

        public int InputDone { get; set; }

        public bool ClosesInput { get; set; } = true;

        public bool HasClosedInput { get; set; }

        /// <summary>Does its reader read?</summary>
        public bool Reads { get; set; } = true;

        public string OutputText => Encoding.UTF8.GetString(Output.ToArray());

        public string ErrorText => Encoding.UTF8.GetString(Error.ToArray());
    }

    public (AgentProcess Process, Streams Streams) Start(AgentCommand command, byte[]? input = null, bool closesInput = true, bool reads = true)
    {
        AgentProcess process = _session.Start(command, this);
        var streams = new Streams { Input = input ?? [], ClosesInput = closesInput, Reads = reads };
        _streams.Add(process, streams);
        return (process, streams);
    }

    public (AgentExit Exit, Streams Streams) Run(AgentCommand command, byte[]? input = null)
    {
        (_, Streams streams) = Start(command, input);
        Wait(() => streams.Exit is not null);
        return (streams.Exit!.Value, streams);
    }

    public (AgentExit Exit, Streams Streams) Run(params string[] words) =>
        Run(new AgentCommand { Arguments = words, Environment = ["PATH=/usr/bin:/bin"] });

    public void Wait(Func<bool> condition)
    {
        long end = Environment.TickCount64 + Patience;
        while (!condition())
        {
            Assert.True(Environment.TickCount64 < end, $"nothing comes; the agent's failure: {Failure}");
            _loop.Turn(100);
        }
    }

    public int WaitForExit()
    {
        Assert.True(_program.WaitForExit(Patience));
        return _program.ExitCode;
    }

    public void Dispose()
    {
        _session.Dispose();
        _loop.Dispose();
        if (!_program.WaitForExit(Patience))
        {
            _program.Kill();
        }

        _program.Dispose();
    }

    void IAgentOwner.Arrived(string kernel) => Kernel = kernel;

    void IAgentOwner.Noted(string text) => Notes.Add(text);

    void IAgentOwner.Failed(string why) => Failure = why;

    void IAgentOwner.SaidGoodbye() => HasSaidGoodbye = true;

    void IAgentProcessOwner.Started(AgentProcess process) => Push(process);

    void IAgentProcessOwner.Wrote(AgentProcess process, bool isError, ReadOnlySpan<byte> bytes)
    {
        Streams streams = _streams[process];
        (isError ? streams.Error : streams.Output).Write(bytes);
        if (streams.Reads)
        {
            process.Consumed(isError, bytes.Length);
        }
    }

    void IAgentProcessOwner.WantsInput(AgentProcess process) => Push(process);

    void IAgentProcessOwner.ClosedInput(AgentProcess process) => _streams[process].HasClosedInput = true;

    void IAgentProcessOwner.Ended(AgentProcess process, in AgentExit exit) => _streams[process].Exit = exit;

    private void Push(AgentProcess process)
    {
        Streams streams = _streams[process];
        while (streams.Input is { } input && process.InputCredit > 0)
        {
            Span<byte> room = process.ReserveInput();
            int length = Math.Min(room.Length, input.Length - streams.InputDone);
            if (length == 0)
            {
                streams.Input = null;
                if (streams.ClosesInput)
                {
                    process.PutInput(0);
                }

                return;
            }

            input.AsSpan(streams.InputDone, length).CopyTo(room);
            streams.InputDone += length;
            process.PutInput(length);
        }
    }

    private static Process StartWith(FileDescriptor socket)
    {
        // Without FD_CLOEXEC for as long as it takes to start one program.
        _ = LibC.fcntl(socket.Number, LibC.F_SETFD, 0);
        try
        {
            return Process.Start(new ProcessStartInfo(
                Path.Combine(SourceTree.Root, "out/agent/agent"), ["--fd", socket.Number.ToString(CultureInfo.InvariantCulture)]))!;
        }
        finally
        {
            _ = LibC.fcntl(socket.Number, LibC.F_SETFD, 1);
        }
    }
}

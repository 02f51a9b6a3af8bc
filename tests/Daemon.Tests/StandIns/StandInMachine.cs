using System.Globalization;
using System.Net.Sockets;
using System.Text;
using System.Text.Json;
using System.Text.Json.Serialization.Metadata;
using Vmm.Control;

namespace Vmm.Daemon.Tests.StandIns;

/// <summary>What vmmd sees of a machine: its directories and its control socket, of which only what it answers is made up.</summary>
internal sealed class StandInMachine : IAsyncDisposable
{
    private const uint EchoWindow = 1000;

    private readonly string _home, _runtime;
    private readonly Socket _listening = new(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
    private readonly CancellationTokenSource _over = new();
    private readonly TaskCompletionSource _ended = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private readonly List<Session> _sessions = [];
    // In whole milliseconds: times in a log are cut to microseconds, and differences of them are compared.
    private readonly DateTimeOffset _started = DateTimeOffset.FromUnixTimeMilliseconds(DateTimeOffset.UtcNow.ToUnixTimeMilliseconds());
    private readonly Task _accepting;
    private volatile bool _isSilent;

    public StandInMachine(string stateHome, string runtimeHome, string name, ulong memory = 256UL << 20, int cpus = 1)
    {
        (Name, Memory, Cpus) = (name, memory, cpus);
        _home = Path.Combine(stateHome, "vmm", "machines", name);
        _runtime = Path.Combine(runtimeHome, "vmm", name);
        Directory.CreateDirectory(_home);
        Directory.CreateDirectory(_runtime);
        WriteFile(null, null, null);
        WriteLog();
        string socket = Path.Combine(_runtime, "control.sock");

        // It has its name once it listens.
        _listening.Bind(new UnixDomainSocketEndPoint(socket + ".new"));
        _listening.Listen(16);
        File.Move(socket + ".new", socket, overwrite: true);
        _accepting = AcceptAsync();
    }

    public string Name { get; }

    public ulong Memory { get; }

    public int Cpus { get; }

    public MachineCondition Condition { get; private set; } = MachineCondition.Running;

    /// <summary>How often it was asked, by command.</summary>
    public Dictionary<string, int> Asked { get; } = [];

    public Task Ended => _ended.Task;

    public int Connections
    {
        get
        {
            lock (_sessions)
            {
                return _sessions.Count;
            }
        }
    }

    /// <summary>It hears, and does not answer any more.</summary>
    public void FallSilent() => _isSilent = true;

    /// <summary>Ends as a machine does: last words, its file, its socket.</summary>
    public async Task EndAsync(int code = 0)
    {
        if (_over.IsCancellationRequested)
        {
            return;
        }

        WriteFile(DateTimeOffset.UtcNow, code, "the guest powered off");
        await TellAsync(new ControlEvent { Event = "ended", Kind = "powered-off", Code = code, Message = "the guest powered off" });
        Directory.Delete(_runtime, recursive: true);     // before its process may end
        await DisposeAsync();
    }

    /// <summary>Tells that the guest's kernel complained.</summary>
    public Task ComplainAsync(string kind, string text) => TellAsync(new ControlEvent { Event = "complaint", Kind = kind, Text = text });

    /// <summary>Ends as a machine does that was killed: nothing is said, everything is left.</summary>
    public async ValueTask DisposeAsync()
    {
        if (_over.IsCancellationRequested)
        {
            return;
        }

        await _over.CancelAsync();
        _listening.Dispose();
        await _accepting;
        Session[] sessions;
        lock (_sessions)
        {
            sessions = [.. _sessions];
        }

        foreach (Session session in sessions)
        {
            session.Dispose();
        }

        _ended.TrySetResult();
    }

    private void WriteFile(DateTimeOffset? ended, int? code, string? verdict)
    {
        string path = Path.Combine(_home, "machine.json");
        using (FileStream file = File.Create(path + ".new"))
        using (var writer = new Utf8JsonWriter(file))
        {
            writer.WriteStartObject();
            writer.WriteNumber("version", 1);
            writer.WriteString("name", Name);
            writer.WriteStartArray("commandLine");
            writer.WriteStringValue("run");
            writer.WriteEndArray();
            writer.WriteString("kernel", "reference");
            writer.WriteNumber("memory", Memory);
            writer.WriteNumber("cpus", Cpus);
            writer.WriteString("created", _started);
            writer.WriteString("started", _started);
            WriteSteps(writer, ("first instruction", 0.034), ("agent", 1.31), ("command starts", 1.32));
            writer.WriteStartArray("earlier");
            writer.WriteStartObject();
            writer.WriteString("started", Earlier);
            WriteSteps(writer, ("first instruction", 0.03));
            writer.WriteString("ended", Earlier.AddMinutes(5));
            writer.WriteNumber("exitCode", 0);
            writer.WriteString("verdict", "the guest powered off");
            writer.WriteEndObject();
            writer.WriteEndArray();
            if (ended is { } time)
            {
                writer.WriteString("ended", time);
                writer.WriteNumber("exitCode", code ?? 0);
                writer.WriteString("verdict", verdict);
            }

            writer.WriteEndObject();
        }

        File.Move(path + ".new", path, overwrite: true);
    }

    private DateTimeOffset Earlier => _started.AddHours(-1);

    /// <summary>What the console of its earlier run said.</summary>
    private void WriteLog()
    {
        string Line(double after, string text) =>
            string.Create(CultureInfo.InvariantCulture, $"{Earlier.UtcDateTime.AddSeconds(after):yyyy-MM-dd'T'HH:mm:ss.ffffff'Z'} stdout F {text}\n");
        File.WriteAllText(
            Path.Combine(_home, "console.log"),
            Line(0.02, "[    0.000000] Linux version 6.1.0") + Line(0.25, "[    0.2] no step") + Line(0.47, "[    0.449000] Run /sbin/init as init process"));
    }

    private static void WriteSteps(Utf8JsonWriter writer, params ReadOnlySpan<(string Name, double At)> steps)
    {
        writer.WriteStartArray("steps");
        foreach ((string name, double at) in steps)
        {
            writer.WriteStartObject();
            writer.WriteString("name", name);
            writer.WriteNumber("at", at);
            writer.WriteEndObject();
        }

        writer.WriteEndArray();
    }

    private async Task AcceptAsync()
    {
        try
        {
            while (true)
            {
                var session = new Session(await _listening.AcceptAsync(_over.Token));
                lock (_sessions)
                {
                    _sessions.Add(session);
                }

                _ = ServeAsync(session);
            }
        }
        catch (Exception error) when (error is OperationCanceledException or ObjectDisposedException or SocketException)
        {
        }
    }

    private async Task ServeAsync(Session session)
    {
        try
        {
            await session.SendAsync(
                new ControlGreeting { Protocol = 1, Vmm = "0.1.0", Pid = Environment.ProcessId, Name = Name }, ControlJson.Default.ControlGreeting);
            using var reader = new StreamReader(new NetworkStream(session.Socket), Encoding.UTF8);
            while (await reader.ReadLineAsync() is { } line)
            {
                ControlRequest request = JsonSerializer.Deserialize(line, ControlJson.Default.ControlRequest)!;
                lock (Asked)
                {
                    Asked[request.Command] = Asked.GetValueOrDefault(request.Command) + 1;
                }

                if (!_isSilent)
                {
                    await AnswerAsync(session, request);
                }
            }
        }
        catch (Exception error) when (error is IOException or ObjectDisposedException or SocketException)
        {
        }

        lock (_sessions)
        {
            _sessions.Remove(session);
        }
    }

    private async Task AnswerAsync(Session session, ControlRequest request)
    {
        switch (request.Command)
        {
            case "events":
                session.IsSubscribed = true;
                await session.ReplyAsync(request, new ControlDone(), ControlJson.Default.ControlDone);
                break;
            case "status":
                await session.ReplyAsync(request, Status(), ControlJson.Default.ControlStatus);
                break;
            case "stats":
                await session.ReplyAsync(request, Statistics(), ControlJson.Default.ControlStatistics);
                break;
            case "pause" when Condition == MachineCondition.Paused:
                await session.SendAsync(
                    new ControlReply { Id = request.Id, Error = new ControlError("not-now", "it is paused already") }, ControlJson.Default.ControlReply);
                break;
            case "pause" or "resume":
                await BecomeAsync(request.Command == "pause" ? MachineCondition.Paused : MachineCondition.Running);
                await session.ReplyAsync(request, new ControlDone(), ControlJson.Default.ControlDone);
                break;
            case "power":
                await session.ReplyAsync(request, new ControlDone(), ControlJson.Default.ControlDone);
                break;
            case "stop" or "kill":
                await BecomeAsync(MachineCondition.Stopping);
                await session.ReplyAsync(request, new ControlStopping(true), ControlJson.Default.ControlStopping);
                _ = EndAsync(request.Command == "kill" ? 137 : 0);
                break;
            case "exec" or "console":
                session.Typed = request.Command == "console" ? new StringBuilder() : null;
                await session.ReplyAsync(request, new ControlOpened(1, EchoWindow, 64 << 10), ControlJson.Default.ControlOpened);
                break;
            case "input":
                await EchoAsync(session, request.Arguments!.Value.Deserialize(ControlJson.Default.InputArguments)!.Data);
                break;
            case "resize":
                ResizeArguments size = request.Arguments!.Value.Deserialize(ControlJson.Default.ResizeArguments)!;
                await session.OutputAsync(1, Encoding.ASCII.GetBytes($"{size.Rows}x{size.Columns}"));
                break;
            case "credit":
                break;
            default:
                await session.SendAsync(
                    new ControlReply { Id = request.Id, Error = new ControlError("unknown-command", $"{request.Command}: no such command") },
                    ControlJson.Default.ControlReply);
                break;
        }
    }

    /// <summary>A guest that gives back what it gets, and on its console answers each line; at its end it says so on standard error.</summary>
    private async Task EchoAsync(Session session, byte[] data)
    {
        if (data.Length > 0)
        {
            await session.OutputAsync(1, data);
            if (session.Typed?.Append(Encoding.ASCII.GetString(data)).ToString() is { } line && line.EndsWith('\r'))
            {
                session.Typed.Clear();
                await session.OutputAsync(1, Encoding.ASCII.GetBytes($"\n{Name} has heard {line.Length - 1} characters\r\n"));
            }

            await session.SendAsync(new ControlEvent { Event = "credit", Stream = 1, Bytes = data.Length }, ControlJson.Default.ControlEvent);
            return;
        }

        await session.OutputAsync(2, "bye"u8.ToArray());
        await session.SendAsync(new ControlEvent { Event = "exited", Stream = 1, How = "exit", Value = 7 }, ControlJson.Default.ControlEvent);
    }

    private ControlStatus Status() => new()
    {
        State = Condition,
        Name = Name,
        Pid = Environment.ProcessId,
        Kernel = "reference",
        Memory = Memory,
        Cpus = Cpus,
        Uptime = Math.Round((DateTimeOffset.UtcNow - _started).TotalSeconds, 3),
        Agent = true,
    };

    private static ControlStatistics Statistics() => new()
    {
        Exits = [12, 34],
        ExitsByReason = new Dictionary<string, long> { ["IO"] = 40, ["MMIO"] = 6 },
        ExitsByDevice =
        [
            new ExitFigures("IO", "COM1", 40, 0.0005, [0, 10, 30, 39, 40, 40, 40, 40, 40, 40, 40]),
            new ExitFigures("MMIO", "virtio-blk0 \"\\", 6, 2.5, [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 5]),
            new ExitFigures("HLT", "", 1, 0, []),
        ],
        CpuTime = 1.5,
        Resident = 64 << 20,
        Disks = [new DiskFigures("vda", 1 << 30, 100, 50, 7, 0)],
        Nets = [new NetFigures("eth0", 10, 1000, 0, 20, 2000, 0)],
    };

    private Task BecomeAsync(MachineCondition condition)
    {
        Condition = condition;
        return TellAsync(new ControlEvent { Event = "state", State = condition });
    }

    private async Task TellAsync(ControlEvent happened)
    {
        Session[] subscribed;
        lock (_sessions)
        {
            subscribed = [.. _sessions.Where(static each => each.IsSubscribed)];
        }

        foreach (Session session in subscribed)
        {
            await session.SendAsync(happened, ControlJson.Default.ControlEvent);
        }
    }

    private sealed class Session(Socket socket) : IDisposable
    {
        private readonly SemaphoreSlim _sending = new(1);

        public Socket Socket => socket;

        public void Dispose()
        {
            socket.Dispose();
            _sending.Dispose();
        }

        public bool IsSubscribed { get; set; }

        /// <summary>The line that is being typed, on a console; null elsewhere.</summary>
        public StringBuilder? Typed { get; set; }

        public Task ReplyAsync<T>(ControlRequest request, T result, JsonTypeInfo<T> type) => SendAsync(
            new ControlReply { Id = request.Id, Result = JsonSerializer.SerializeToElement(result, type) }, ControlJson.Default.ControlReply);

        public Task OutputAsync(int fd, byte[] data) =>
            SendAsync(new ControlEvent { Event = "output", Stream = 1, Fd = fd, Data = data }, ControlJson.Default.ControlEvent);

        public async Task SendAsync<T>(T message, JsonTypeInfo<T> type)
        {
            byte[] line = [.. JsonSerializer.SerializeToUtf8Bytes(message, type), (byte)'\n'];
            await _sending.WaitAsync();
            try
            {
                await socket.SendAsync(line);
            }
            finally
            {
                _sending.Release();
            }
        }
    }
}

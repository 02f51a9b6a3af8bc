using System.Diagnostics;
using System.Text;
using System.Text.Json;
using System.Text.Json.Serialization.Metadata;
using Tmds.Linux;
using Vmm.Host;
using Vmm.Text;

namespace Vmm.Control;

/// <summary>A client of a machine's control socket: one request at a time, waiting for each answer.</summary>
/// <remarks>The other end is not trusted: it can cost only a limited time and one line's memory.</remarks>
internal sealed class ControlClient : IDisposable
{
    /// <summary>What is wrong with a socket whose answers are none of the protocol.</summary>
    public const string NoMachine = "what listens there is no machine of vmm's";

    private const int MostLine = 1 << 20;

    /// <summary>For an answer.</summary>
    public static readonly TimeSpan DefaultPatience = TimeSpan.FromSeconds(10);

    private readonly string _name;
    private readonly TimeSpan _patience;
    private readonly FileDescriptor _socket;
    private byte[] _in = new byte[4096];
    private int _count;
    private ulong _last;

    /// <param name="path">Of the socket.</param>
    /// <param name="name">What the user calls the machine, for messages.</param>
    /// <param name="patience">For its first line, and for each answer; null for <see cref="DefaultPatience"/>.</param>
    /// <exception cref="HostException">Nobody is there, it is no machine of vmm's, or it is another user's.</exception>
    public ControlClient(string path, string name, TimeSpan? patience = null)
    {
        (_name, _patience) = (name, patience ?? DefaultPatience);
        _socket = Connect(path, name, _patience);
        try
        {
            byte[] line = ReadLine(_patience) ?? throw Gone();
            Greeting = Greet(line, name);
        }
        catch
        {
            _socket.Dispose();
            throw;
        }
    }

    public ControlGreeting Greeting { get; }

    /// <summary>Hears each event that comes while something else is waited for; it is dropped where nobody does.</summary>
    public Action<string>? Happened { get; set; }

    /// <summary>The same for what may take long to answer: whatever listens there has to answer something at once first.</summary>
    /// <exception cref="HostException">Nobody is there, it does not answer, it is no machine of vmm's, or it is another user's.</exception>
    public static ControlClient ForLongWork(string path, string name)
    {
        var client = new ControlClient(path, name);
        try
        {
            client.Ask("status");
            return client;
        }
        catch
        {
            client.Dispose();
            throw;
        }
    }

    /// <summary>Connects a socket that does not block.</summary>
    /// <exception cref="HostException">Nobody is there.</exception>
    public static FileDescriptor Connect(string path, string name, TimeSpan patience)
    {
        const int Again = 10;
        FileDescriptor socket = UnixSocket.Create();
        long start = Stopwatch.GetTimestamp();
        while (true)
        {
            int errno = Encoding.UTF8.GetByteCount(path) > UnixSocket.MostPathBytes ? ErrnoException.ENAMETOOLONG : UnixSocket.Connect(socket, path);
            switch (errno)
            {
                case 0:
                    return socket;
                case ErrnoException.EAGAIN when Stopwatch.GetElapsedTime(start) < patience:
                    Thread.Sleep(Again);        // others are being let in
                    continue;
            }

            socket.Dispose();
            throw new HostException($"{name}: " + errno switch
            {
                ErrnoException.ENOENT or ErrnoException.ECONNREFUSED => "no machine listens there",
                ErrnoException.EAGAIN => "the machine does not answer",
                ErrnoException.EACCES or ErrnoException.EPERM => "permission denied: only its owner and root may ask anything of a machine",
                _ => ErrnoException.Describe(errno),
            });
        }
    }

    /// <summary>Reads the first line that a machine says.</summary>
    /// <exception cref="HostException">It lets nobody in, or is none of this vmm's.</exception>
    public static ControlGreeting Greet(ReadOnlySpan<byte> line, string name)
    {
        if (TryParse(line, ControlJson.Default.ControlReply)?.Error is { } refused)
        {
            throw new HostException($"{name}: {PrintableText.Of(refused.Message)}");
        }

        ControlGreeting greeting = TryParse(line, ControlJson.Default.ControlGreeting) ?? throw Nonsense(name);
        return greeting.Protocol == ControlGreeting.CurrentProtocol
            ? greeting
            : throw new HostException($"{name}: vmm {PrintableText.Of(greeting.Vmm)} runs it, which speaks version {greeting.Protocol} of "
                + $"the control protocol; this vmm speaks {ControlGreeting.CurrentProtocol}");
    }

    /// <summary>Asks, and waits for the answer.</summary>
    /// <exception cref="UsageException">The machine knows no such command, or its arguments are wrong.</exception>
    /// <exception cref="HostException">The machine refuses, does not answer, or is gone.</exception>
    public JsonElement Ask(string command, JsonElement? arguments = null, TimeSpan? patience = null)
    {
        var request = new ControlRequest { Id = ++_last, Command = command, Arguments = arguments };
        TimeSpan left = patience ?? _patience;
        bool isEndless = left == Timeout.InfiniteTimeSpan;
        long start = Stopwatch.GetTimestamp();
        Send([.. JsonSerializer.SerializeToUtf8Bytes(request, ControlJson.Default.ControlRequest), (byte)'\n'], left);
        while (true)
        {
            byte[] line = ReadLine(isEndless ? left : left - Stopwatch.GetElapsedTime(start)) ?? throw Gone();
            ControlReply reply = TryParse(line, ControlJson.Default.ControlReply) ?? throw Nonsense(_name);
            // A stream may have ended before the machine read what it was told: that says nothing about this request.
            if (reply.Error is { } error && (reply.Id == _last || (reply.Id is null && error.Code != "no-stream")))
            {
                throw Refused(error);
            }

            if (reply.Id == _last)
            {
                return reply.Result ?? throw Nonsense(_name);
            }

            Happened?.Invoke(Encoding.UTF8.GetString(line));
            if (!isEndless && Stopwatch.GetElapsedTime(start) > left)
            {
                throw new HostException($"{_name}: the machine does not answer");
            }
        }
    }

    /// <summary>Asks, and waits for an answer of a certain kind.</summary>
    /// <param name="type">Of the answer; another one is none of vmm's.</param>
    public T Ask<T>(string command, JsonElement? arguments, JsonTypeInfo<T> type, TimeSpan? patience = null)
        where T : class
    {
        JsonElement result = Ask(command, arguments, patience);
        try
        {
            return result.Deserialize(type) ?? throw Nonsense(_name);
        }
        catch (JsonException)
        {
            throw Nonsense(_name);
        }
    }

    /// <summary>Asks for something that has no reply, and waits as long as the machine takes to hear it.</summary>
    public void Tell(string command, JsonElement arguments) => Send(
        [
            .. JsonSerializer.SerializeToUtf8Bytes(
                new ControlRequest { Command = command, Arguments = arguments }, ControlJson.Default.ControlRequest),
            (byte)'\n',
        ],
        Timeout.InfiniteTimeSpan);

    /// <summary>The next line, whatever it is.</summary>
    /// <param name="patience"><see cref="Timeout.InfiniteTimeSpan"/> for as long as it takes.</param>
    /// <param name="wait">Waits for the socket, and for what else may end the waiting; null for the socket alone.</param>
    /// <returns>Null when the machine has ended.</returns>
    /// <exception cref="HostException">There is none in time.</exception>
    public byte[]? ReadLine(TimeSpan patience, Action<int, short, TimeSpan>? wait = null)
    {
        var socket = new ConnectedSocket(_socket);
        long start = Stopwatch.GetTimestamp();
        while (true)
        {
            int end = _in.AsSpan(0, _count).IndexOf((byte)'\n');
            if (end >= 0)
            {
                byte[] line = _in[..end];
                _in.AsSpan(end + 1, _count - end - 1).CopyTo(_in);
                _count -= end + 1;
                return line;
            }

            if (_count == _in.Length)
            {
                Array.Resize(ref _in, _count < MostLine ? _count * 2 : throw Nonsense(_name));
            }

            int got = socket.Receive(_in.AsSpan(_count));
            if (got < 0)
            {
                return null;
            }

            _count += got;
            if (got == 0)
            {
                Await(LibC.EPOLLIN, start, patience, wait);
            }
        }
    }

    public void Dispose() => _socket.Dispose();

    private static T? TryParse<T>(ReadOnlySpan<byte> line, JsonTypeInfo<T> type)
    {
        try
        {
            return JsonSerializer.Deserialize(line, type);
        }
        catch (JsonException)
        {
            return default;
        }
    }

    private void Send(ReadOnlySpan<byte> line, TimeSpan patience)
    {
        var socket = new ConnectedSocket(_socket);
        long start = Stopwatch.GetTimestamp();
        while (!line.IsEmpty)
        {
            int sent = socket.Send(line);
            if (sent < 0)
            {
                throw Gone();
            }

            line = line[sent..];
            if (sent == 0)
            {
                Await(LibC.EPOLLOUT, start, patience);
            }
        }
    }

    private unsafe void Await(int events, long start, TimeSpan patience, Action<int, short, TimeSpan>? wait = null)
    {
        double left = patience == Timeout.InfiniteTimeSpan ? -1 : (patience - Stopwatch.GetElapsedTime(start)).TotalMilliseconds;
        if (patience != Timeout.InfiniteTimeSpan && left <= 0)
        {
            throw new HostException($"{_name}: the machine does not answer");
        }

        if (wait is not null)
        {
            wait(_socket.Number, (short)events, left < 0 ? Timeout.InfiniteTimeSpan : TimeSpan.FromMilliseconds(left));
            return;
        }

        var poll = new pollfd { fd = _socket.Number, events = (short)events };

        // SAFETY: one struct on this stack.
        _ = LibC.Poll(&poll, 1, left < 0 ? -1 : (int)Math.Ceiling(left));
    }

    private Exception Refused(ControlError error)
    {
        string message = $"{_name}: {PrintableText.Of(error.Message)}";
        return error.Code is "unknown-command" or "bad-arguments" or "bad-request" ? new UsageException(message) : new HostException(message);
    }

    private HostException Gone() => new($"{_name}: the machine has ended");

    /// <summary>For who asked and got an answer that no machine gives.</summary>
    public HostException IsNoMachine() => Nonsense(_name);

    private static HostException Nonsense(string name) => new($"{name}: {NoMachine}");
}

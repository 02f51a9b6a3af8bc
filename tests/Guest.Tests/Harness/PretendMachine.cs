using System.Net.Sockets;
using System.Text;
using System.Text.Json;
using System.Text.Json.Serialization.Metadata;
using Vmm.Control;

namespace Vmm.Guest.Tests.Harness;

/// <summary>A control socket without a machine behind it: the test reads what a command of vmm's asks, and answers as it likes.</summary>
internal sealed class PretendMachine : IDisposable
{
    private readonly Socket _listening = new(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
    private Socket? _client;
    private StreamReader? _reader;

    public PretendMachine(string path)
    {
        _listening.Bind(new UnixDomainSocketEndPoint(path));
        _listening.Listen();
    }

    /// <summary>Lets the command in, greets it, and answers what it asks first.</summary>
    public void Accept()
    {
        _client = _listening.Accept();
        _client.ReceiveTimeout = (int)Product.Patience.TotalMilliseconds;
        _reader = new StreamReader(new NetworkStream(_client), Encoding.UTF8);
        Say(new ControlGreeting { Protocol = 1, Vmm = "0.0.0", Pid = 1, Name = "pretend" }, ControlJson.Default.ControlGreeting);
        ControlRequest first = JsonSerializer.Deserialize(_reader.ReadLine()!, ControlJson.Default.ControlRequest)!;
        Say(new ControlReply { Id = first.Id, Result = JsonElement.Parse("{}") }, ControlJson.Default.ControlReply);
    }

    /// <summary>The next request of that kind; others that come before it are passed over.</summary>
    public ControlRequest Hear(string command)
    {
        while (_reader!.ReadLine() is { } line)
        {
            ControlRequest request = JsonSerializer.Deserialize(line, ControlJson.Default.ControlRequest)!;
            if (request.Command == command)
            {
                return request;
            }
        }

        throw new InvalidOperationException($"the connection ended before '{command}' came");
    }

    public T Hear<T>(string command, JsonTypeInfo<T> type) => Hear(command).Arguments!.Value.Deserialize(type)!;

    /// <summary>Input of the stream until it has that many bytes.</summary>
    public string HearInput(int length)
    {
        var typed = new StringBuilder();
        while (typed.Length < length)
        {
            typed.Append(Encoding.Latin1.GetString(Hear("input", ControlJson.Default.InputArguments).Data));
        }

        return typed.ToString();
    }

    /// <summary>Opens stream 1 for a request.</summary>
    public void Open(ControlRequest request) => Say(
        new ControlReply
        {
            Id = request.Id,
            Result = JsonSerializer.SerializeToElement(new ControlOpened(1, 65536, 65536), ControlJson.Default.ControlOpened),
        },
        ControlJson.Default.ControlReply);

    public void Output(string text, int fd = 1) => Tell(new ControlEvent { Event = "output", Stream = 1, Fd = fd, Data = Encoding.Latin1.GetBytes(text) });

    public void Exited(string how, uint value) => Tell(new ControlEvent { Event = "exited", Stream = 1, How = how, Value = value });

    public void HangUp() => _client!.Dispose();

    public void Dispose()
    {
        _reader?.Dispose();
        _client?.Dispose();
        _listening.Dispose();
    }

    private void Tell(ControlEvent happened) => Say(happened, ControlJson.Default.ControlEvent);

    private void Say<T>(T message, JsonTypeInfo<T> type) => _client!.Send([.. JsonSerializer.SerializeToUtf8Bytes(message, type), (byte)'\n']);
}

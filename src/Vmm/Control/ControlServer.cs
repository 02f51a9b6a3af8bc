using System.Text.Json;
using System.Text.Json.Serialization.Metadata;
using Vmm.Host;

namespace Vmm.Control;

/// <summary>Does what clients ask for. On the event loop's thread; disposed of when that has stopped.</summary>
internal interface IControlTarget : IDisposable
{
    ControlGreeting Greeting { get; }

    /// <summary>Tells those who subscribed what happens. Set once, before the loop starts; any thread may call it.</summary>
    Action<ControlEvent> Tell { set; }

    /// <summary>Answers now or later, once.</summary>
    /// <exception cref="ControlException">It cannot be done: that is the answer.</exception>
    void Do(string command, JsonElement? arguments, ControlAnswer answer);
}

/// <summary>What a client is told instead of a result.</summary>
internal sealed class ControlException(string code, string message) : Exception(message)
{
    public string Code { get; } = code;
}

/// <summary>A machine's control socket: its owner's programs speak JSON at it, one object on a line (docs/control-protocol.md). Only
/// the owner and root may connect, whatever the modes of the file and its directory.</summary>
/// <remarks>On the event loop's thread. Nothing is allocated, and nothing wakes up, while nobody is connected.</remarks>
internal sealed class ControlServer : IDisposable
{
    public const int MostClients = 16;

    private static readonly TimeSpan LastWords = TimeSpan.FromMilliseconds(500), Quiet = TimeSpan.FromSeconds(5);

    private readonly EventLoop _loop;
    private readonly IControlTarget _target;
    private readonly SocketName _name;
    private readonly Interest _listening;
    private readonly LoopTimer _quiet;
    private readonly List<ControlConnection> _clients = [];
    private volatile int _subscribers;

    /// <summary>Before the loop starts.</summary>
    /// <param name="name">Not owned: the machine that takes this one's place has it, too.</param>
    /// <param name="target">Owned from now on.</param>
    public ControlServer(EventLoop loop, SocketName name, IControlTarget target)
    {
        (_loop, _name, _target) = (loop, name, target);
        target.Tell = Tell;
        _listening = new Interest(loop, name.Number, LibC.EPOLLIN, _ => Accept());
        _quiet = new LoopTimer(loop, ProcessMemory.TrimSoon);       // JSON needs a third of the program, and leaves garbage
    }

    /// <summary>The machine has ended, and so has the loop: says how to those who want to know.</summary>
    public void Finish(ControlEvent ended)
    {
        _loop.Stop();
        Broadcast(ended);
        foreach (ControlConnection client in _clients)
        {
            client.Finish(LastWords);
        }
    }

    public void Dispose()
    {
        _loop.Stop();
        foreach (ControlConnection client in _clients)
        {
            client.Dispose();
        }

        _clients.Clear();
        _quiet.Dispose();
        _listening.Dispose();
        _target.Dispose();
    }

    private static void Refuse(FileDescriptor socket, string code, string message)
    {
        byte[] line = JsonSerializer.SerializeToUtf8Bytes(
            new ControlReply { Error = new ControlError(code, message) }, ControlJson.Default.ControlReply);
        using var refused = new ConnectedSocket(socket);
        _ = refused.Send([.. line, (byte)'\n']);     // there is room: it is the first thing
    }

    private void Accept()
    {
        if (_name.Accept() is not { } socket)
        {
            return;
        }

        if (!UnixSocket.IsPeerTrusted(socket))
        {
            Refuse(socket, "forbidden", "this machine belongs to another user");
            return;
        }

        if (_clients.Count >= MostClients)
        {
            Refuse(socket, "busy", $"{MostClients} clients are connected to this machine already");
            return;
        }

        var client = new ControlConnection(_loop, socket, Hear, Forget);
        _clients.Add(client);
        _quiet.Stop();
        client.Send(_target.Greeting, ControlJson.Default.ControlGreeting);
    }

    private void Forget(ControlConnection client)
    {
        client.Dispose();
        _clients.Remove(client);
        _subscribers = _clients.Count(static each => each.IsSubscribed);
        if (_clients.Count == 0)
        {
            _quiet.Set(Quiet);
        }
    }

    private void Tell(ControlEvent happened)
    {
        if (_subscribers == 0)
        {
            return;
        }

        if (_loop.IsLoopThread)
        {
            Broadcast(happened);
        }
        else
        {
            _loop.Post(() => Broadcast(happened));
        }
    }

    private void Broadcast(ControlEvent happened)
    {
        foreach (ControlConnection client in _clients)
        {
            if (client.IsSubscribed)
            {
                client.Send(happened, ControlJson.Default.ControlEvent);
            }
        }
    }

    private void Hear(ControlConnection client, ReadOnlyMemory<byte> line)
    {
        ulong? id = null;
        ControlAnswer? answer = null;
        try
        {
            ControlRequest request = Parse(line);
            id = request.Id;
            answer = new ControlAnswer(client, id);
            if (!StreamRequests.TryDo(client, request, answer) && !TrySubscribe(client, request, answer))
            {
                _target.Do(request.Command, request.Arguments, answer);
            }
        }
        catch (ControlException error)
        {
            (answer ?? new ControlAnswer(client, id)).Fail(error.Code, error.Message);
        }
    }

    private bool TrySubscribe(ControlConnection client, ControlRequest request, ControlAnswer answer)
    {
        if (request.Command != "events")
        {
            return false;
        }

        client.IsSubscribed = true;
        _subscribers = _clients.Count(static each => each.IsSubscribed);
        answer.Done();
        return true;
    }

    private static ControlRequest Parse(ReadOnlyMemory<byte> line)
    {
        try
        {
            return JsonSerializer.Deserialize(line.Span, ControlJson.Default.ControlRequest)
                ?? throw new ControlException("bad-request", "a request is an object: {\"id\":1,\"command\":\"status\"}");
        }
        catch (JsonException)
        {
            throw new ControlException("bad-request", "this is no request; one is {\"id\":1,\"command\":\"status\"}");
        }
    }
}

/// <summary>The way back to who asked. On the loop's thread; the client may have gone meanwhile. A request without an id hears of
/// errors only.</summary>
internal sealed class ControlAnswer
{
    private readonly ulong? _id;
    private bool _isGiven;

    public ControlAnswer(ControlConnection client, ulong? id)
    {
        (Client, _id) = (client, id);
        client.Asked();
    }

    public ControlConnection Client { get; }

    public void Done() => Done(new ControlDone(), ControlJson.Default.ControlDone);

    public void Done<T>(T result, JsonTypeInfo<T> type)
    {
        if (_id is not null)
        {
            Give(new ControlReply { Id = _id, Result = JsonSerializer.SerializeToElement(result, type) });
        }
        else
        {
            Give(null);
        }
    }

    public void Fail(string code, string message) => Give(new ControlReply { Id = _id, Error = new ControlError(code, message) });

    private void Give(ControlReply? reply)
    {
        if (_isGiven)
        {
            return;
        }

        _isGiven = true;
        if (reply is not null)
        {
            Client.Send(reply, ControlJson.Default.ControlReply);
        }

        Client.Answered();
    }
}

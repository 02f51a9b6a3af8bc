using System.Text.Json;
using System.Text.Json.Serialization.Metadata;

namespace Vmm.Control;

/// <summary>A stream that a client writes to, and whose output it takes at its own pace. On the event loop's thread.</summary>
internal interface IControlDuplex : IControlStream
{
    /// <param name="data">Empty: the end.</param>
    /// <exception cref="ControlException">It has no room for so much.</exception>
    void Input(ReadOnlySpan<byte> data);

    /// <summary>The client has room for so much more.</summary>
    /// <param name="fd">1 or 2.</param>
    /// <exception cref="ControlException">That is more than it was sent.</exception>
    void Credit(int fd, uint bytes);

    /// <exception cref="ControlException">It takes none.</exception>
    void Signal(int number);

    /// <exception cref="ControlException">It is no terminal.</exception>
    void Resize(ushort rows, ushort columns);

    /// <summary>The client reads no more of one (1 or 2), or of all (null), which ends a stream that is not a process's.</summary>
    void Close(int? fd);
}

/// <summary>Requests about a stream that is there.</summary>
internal static class StreamRequests
{
    /// <returns>False where the request is another one.</returns>
    /// <exception cref="ControlException">There is no such stream, or it cannot.</exception>
    public static bool TryDo(ControlConnection client, ControlRequest request, ControlAnswer answer)
    {
        switch (request.Command)
        {
            case "input":
                InputArguments input = Read(request.Arguments, ControlJson.Default.InputArguments);
                Find(client, input.Stream).Input(input.Data);
                break;
            case "credit":
                CreditArguments credit = Read(request.Arguments, ControlJson.Default.CreditArguments);
                Find(client, credit.Stream).Credit(credit.Fd, credit.Bytes);
                break;
            case "signal":
                SignalArguments signal = Read(request.Arguments, ControlJson.Default.SignalArguments);
                Find(client, signal.Stream).Signal(signal.Signal);
                break;
            case "resize":
                ResizeArguments size = Read(request.Arguments, ControlJson.Default.ResizeArguments);
                Find(client, size.Stream).Resize(size.Rows, size.Columns);
                break;
            case "close":
                CloseArguments close = Read(request.Arguments, ControlJson.Default.CloseArguments);
                Find(client, close.Stream).Close(close.Fd);
                break;
            default:
                return false;
        }

        answer.Done();
        return true;
    }

    /// <exception cref="ControlException">They are missing, or are others.</exception>
    public static T Read<T>(JsonElement? arguments, JsonTypeInfo<T> type)
    {
        try
        {
            return arguments is { } given && given.Deserialize(type) is { } read
                ? read
                : throw new ControlException("bad-arguments", "this command needs arguments");
        }
        catch (JsonException error)
        {
            throw new ControlException("bad-arguments", $"arguments{error.Path?.TrimStart('$')}: missing, unknown or of the wrong kind");
        }
    }

    public static ControlException TooMany() =>
        new("too-much", $"{ControlConnection.MostStreams} streams are open on this connection already; use another one");

    public static ControlException TooMuch() => new("too-much", "more input than there is room for; wait for credit");

    private static IControlDuplex Find(ControlConnection client, uint stream) => client.Find(stream) as IControlDuplex
        ?? throw new ControlException("no-stream", $"stream {stream}: there is none, or it has ended");
}

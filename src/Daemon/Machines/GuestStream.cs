using System.Net.WebSockets;
using System.Text.Json;
using System.Text.Json.Serialization.Metadata;
using System.Threading.Channels;
using Vmm.Control;
using Vmm.Daemon.Api;

namespace Vmm.Daemon.Machines;

/// <summary>Carries a stream of a machine's, a process in the guest or its console, over a WebSocket: a connection of its own to the
/// control socket, which ends with the stream. Neither side is sent more than it has room for.</summary>
internal sealed class GuestStream : IAsyncDisposable
{
    private const int MostChunk = 16 << 10, MostText = 4 << 10;

    private readonly Channel<ControlEvent> _events = Channel.CreateUnbounded<ControlEvent>();      // as much as there is credit for
    private readonly SemaphoreSlim _mayInput = new(0);
    private ControlLink _link = null!;
    private uint _number;
    private long _inputCredit;

    private GuestStream()
    {
    }

    /// <param name="command"><c>exec</c> or <c>console</c>.</param>
    /// <exception cref="MachineException">The machine refuses.</exception>
    public static async Task<GuestStream> OpenAsync<T>(
        WatchedMachine machine, TimeSpan patience, string command, T arguments, JsonTypeInfo<T> type, CancellationToken cancellation)
    {
        machine.Running();
        var stream = new GuestStream();
        stream._link = await ControlLink.ConnectAsync(machine.ControlSocket, patience, stream.Hear, cancellation);
        try
        {
            ControlOpened opened = await stream._link.AskAsync(
                command, JsonSerializer.SerializeToElement(arguments, type), ControlJson.Default.ControlOpened, cancellation);
            stream._number = opened.Stream;
            stream.Allow(opened.InputWindow);
            return stream;
        }
        catch
        {
            await stream.DisposeAsync();
            throw;
        }
    }

    /// <summary>Until the stream ends, or the client goes.</summary>
    /// <param name="hasTwo">Each message begins with a byte that says which: 1 standard output, 2 standard error.</param>
    public async Task CarryAsync(WebSocket client, bool hasTwo, CancellationToken gone)
    {
        using var over = CancellationTokenSource.CreateLinkedTokenSource(gone);
        _ = _link.Ended.ContinueWith(_ => _events.Writer.TryComplete(), TaskScheduler.Default);
        Task input = InputAsync(client, over.Token);
        try
        {
            ControlEvent? exited = await OutputAsync(client, hasTwo, input, over.Token);
            if (client.State == WebSocketState.Open)
            {
                if (exited is not null)
                {
                    byte[] last = JsonSerializer.SerializeToUtf8Bytes(new ExitMessage(exited.How ?? "", exited.Value ?? 0), StreamJson.Default.ExitMessage);
                    await client.SendAsync(last, WebSocketMessageType.Text, true, over.Token);
                }

                await client.CloseOutputAsync(
                    WebSocketCloseStatus.NormalClosure, exited is null ? "the machine has ended" : null, over.Token);
            }
        }
        catch (Exception error) when (error is WebSocketException or OperationCanceledException or IOException or MachineException)
        {
            // One side is gone; the other is let go.
        }

        over.CancelAfter(TimeSpan.FromSeconds(5));      // for the client's answer to the close
        await input;
    }

    public async ValueTask DisposeAsync()
    {
        await _link.DisposeAsync();
        _mayInput.Dispose();
    }

    private void Hear(ControlEvent happened)
    {
        if (happened.Event == "credit")     // there is one stream
        {
            Allow(happened.Bytes ?? 0);
        }
        else if (happened.Stream is not null)
        {
            _events.Writer.TryWrite(happened);
        }
    }

    private void Allow(long bytes)
    {
        Interlocked.Add(ref _inputCredit, bytes);
        _mayInput.Release();
    }

    /// <returns>The process's end; null where the machine ended, or the client left.</returns>
    private async Task<ControlEvent?> OutputAsync(WebSocket client, bool hasTwo, Task input, CancellationToken over)
    {
        using var left = CancellationTokenSource.CreateLinkedTokenSource(over);
        _ = input.ContinueWith(_ => left.Cancel(), CancellationToken.None, TaskContinuationOptions.ExecuteSynchronously, TaskScheduler.Default);
        await foreach (ControlEvent happened in _events.Reader.ReadAllAsync(left.Token))
        {
            if (happened.Event == "exited")
            {
                return happened;
            }

            if (happened is { Event: "output", Data: { } data })
            {
                byte[] message = hasTwo ? [(byte)(happened.Fd ?? 1), .. data] : data;
                await client.SendAsync(message, WebSocketMessageType.Binary, true, left.Token);
                await SayAsync("credit", new CreditArguments(_number, happened.Fd ?? 1, (uint)data.Length), ControlJson.Default.CreditArguments, left.Token);
            }
        }

        return null;
    }

    /// <summary>Ends when the client closes, goes, or says what cannot be.</summary>
    private async Task InputAsync(WebSocket client, CancellationToken over)
    {
        byte[] buffer = new byte[MostChunk];
        try
        {
            while (true)
            {
                ValueWebSocketReceiveResult got = await client.ReceiveAsync(buffer.AsMemory(), over);
                if (got.MessageType == WebSocketMessageType.Close)
                {
                    return;
                }

                if (got.MessageType == WebSocketMessageType.Binary)
                {
                    await InputAsync(buffer.AsMemory(0, got.Count), over);
                }
                else if (!got.EndOfMessage || got.Count > MostText || !await OrderAsync(buffer.AsMemory(0, got.Count), over))
                {
                    await client.CloseOutputAsync(WebSocketCloseStatus.InvalidPayloadData, "no order that vmmd knows", over);
                    return;
                }
            }
        }
        catch (Exception error) when (error is WebSocketException or OperationCanceledException or IOException or ObjectDisposedException or MachineException)
        {
        }
    }

    private async Task InputAsync(ReadOnlyMemory<byte> data, CancellationToken over)
    {
        while (!data.IsEmpty)
        {
            long credit = Interlocked.Read(ref _inputCredit);
            if (credit <= 0)
            {
                await _mayInput.WaitAsync(over);
                continue;
            }

            int count = (int)Math.Min(credit, data.Length);
            Interlocked.Add(ref _inputCredit, -count);
            await SayAsync("input", new InputArguments(_number, data[..count].ToArray()), ControlJson.Default.InputArguments, over);
            data = data[count..];
        }
    }

    /// <summary>{"type":"end"}, {"type":"signal","signal":15}, {"type":"resize","rows":24,"columns":80}.</summary>
    private async Task<bool> OrderAsync(ReadOnlyMemory<byte> text, CancellationToken over)
    {
        try
        {
            switch (JsonSerializer.Deserialize(text.Span, StreamJson.Default.StreamOrder))
            {
                case { Type: "end" }:
                    await SayAsync("input", new InputArguments(_number, []), ControlJson.Default.InputArguments, over);
                    return true;
                case { Type: "signal", Signal: { } signal }:
                    await SayAsync("signal", new SignalArguments(_number, signal), ControlJson.Default.SignalArguments, over);
                    return true;
                case { Type: "resize", Rows: { } rows, Columns: { } columns }:
                    await SayAsync("resize", new ResizeArguments(_number, rows, columns), ControlJson.Default.ResizeArguments, over);
                    return true;
                default:
                    return false;
            }
        }
        catch (JsonException)
        {
            return false;
        }
    }

    private Task SayAsync<T>(string command, T arguments, JsonTypeInfo<T> type, CancellationToken over) => _link.SendAsync(
        new ControlRequest { Command = command, Arguments = JsonSerializer.SerializeToElement(arguments, type) }, over);
}

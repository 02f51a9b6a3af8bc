using System.Buffers;
using System.Collections.Concurrent;
using System.IO.Pipelines;
using System.Net.Sockets;
using System.Text.Json;
using System.Text.Json.Serialization.Metadata;
using Vmm.Control;

namespace Vmm.Daemon.Machines;

/// <summary>A connection to a machine's control socket: many requests at a time, and its events. Any thread.</summary>
/// <remarks>What answers there need not be a machine: a line that is too long, no JSON, or an answer to nothing ends the connection; an
/// answer that does not come in time fails the request alone.</remarks>
internal sealed class ControlLink : IAsyncDisposable
{
    private const int MostLine = 1 << 20;

    private readonly Socket _socket;
    private readonly NetworkStream _stream;
    private readonly PipeReader _reader;
    private readonly TimeSpan _patience;
    private readonly SemaphoreSlim _writing = new(1);
    private readonly ConcurrentDictionary<ulong, TaskCompletionSource<ControlReply>> _pending = new();
    private readonly CancellationTokenSource _over = new();
    private Action<ControlEvent> _happened = static _ => { };
    private Task _reading = Task.CompletedTask;
    private ulong _last;

    private ControlLink(Socket socket, TimeSpan patience)
    {
        (_socket, _patience) = (socket, patience);
        _stream = new NetworkStream(socket, ownsSocket: true);
        _reader = PipeReader.Create(_stream, new StreamPipeReaderOptions(bufferSize: 4096));
    }

    public ControlGreeting Greeting { get; private set; } = null!;

    /// <summary>Completes when the machine ends, or breaks the protocol.</summary>
    public Task Ended => _reading;

    /// <param name="patience">For the greeting, and for each answer.</param>
    /// <param name="happened">Hears each event, one after the other.</param>
    /// <exception cref="MachineException">Nobody is there, or no machine that vmmd understands.</exception>
    public static async Task<ControlLink> ConnectAsync(string path, TimeSpan patience, Action<ControlEvent> happened, CancellationToken cancellation)
    {
        var socket = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
        ControlLink? link = null;
        using var limit = CancellationTokenSource.CreateLinkedTokenSource(cancellation);
        limit.CancelAfter(patience);
        try
        {
            await socket.ConnectAsync(new UnixDomainSocketEndPoint(path), limit.Token);
            link = new ControlLink(socket, patience) { _happened = happened };
            ReadOnlySequence<byte> line = await link.ReadLineAsync(limit.Token) ?? throw MachineException.Nonsense();
            link.Greeting = Greet(Parse(line));
            link._reader.AdvanceTo(line.End);
            if (link.Greeting.Protocol != ControlGreeting.CurrentProtocol)
            {
                throw new MachineException(
                    "other-version", $"vmm {link.Greeting.Vmm} runs it, which speaks version {link.Greeting.Protocol} of the control protocol");
            }

            link._reading = link.ReadAsync();
            return link;
        }
        catch (Exception error)
        {
            if (link is not null)
            {
                await link.DisposeAsync();
            }

            socket.Dispose();
            throw error switch
            {
                OperationCanceledException when !cancellation.IsCancellationRequested => MachineException.Silent(),
                IOException or SocketException => new MachineException("not-running", "no machine listens at its control socket"),
                _ => error,
            };
        }
    }

    /// <summary>Asks, and waits for the result.</summary>
    /// <exception cref="MachineException">The machine refuses, is gone, or does not answer.</exception>
    public async Task<T> AskAsync<T>(string command, JsonElement? arguments, JsonTypeInfo<T> type, CancellationToken cancellation)
    {
        JsonElement result = await AskAsync(command, arguments, _patience, cancellation);
        try
        {
            return result.Deserialize(type) ?? throw MachineException.Nonsense();
        }
        catch (JsonException)
        {
            throw MachineException.Nonsense();
        }
    }

    public async Task<JsonElement> AskAsync(string command, JsonElement? arguments, TimeSpan patience, CancellationToken cancellation)
    {
        ulong id = Interlocked.Increment(ref _last);
        var answer = new TaskCompletionSource<ControlReply>(TaskCreationOptions.RunContinuationsAsynchronously);
        _pending[id] = answer;
        using var limit = CancellationTokenSource.CreateLinkedTokenSource(cancellation, _over.Token);
        limit.CancelAfter(patience);
        try
        {
            await SendAsync(new ControlRequest { Id = id, Command = command, Arguments = arguments }, limit.Token);
            await ((Task)answer.Task).WaitAsync(limit.Token).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);

            // It may have come with the end of the connection right behind it.
            ControlReply reply = answer.Task.IsCompletedSuccessfully ? await answer.Task : throw new OperationCanceledException(limit.Token);
            return reply.Error is { } error ? throw new MachineException(error.Code, error.Message)
                : reply.Result ?? throw MachineException.Nonsense();
        }
        catch (OperationCanceledException) when (!cancellation.IsCancellationRequested)
        {
            throw _over.IsCancellationRequested ? MachineException.Gone() : MachineException.Silent();
        }
        catch (Exception error) when (error is IOException or SocketException or ObjectDisposedException)
        {
            throw MachineException.Gone();
        }
        finally
        {
            _pending.TryRemove(id, out _);
        }
    }

    /// <summary>Says something that needs no answer.</summary>
    public async Task SendAsync(ControlRequest request, CancellationToken cancellation)
    {
        byte[] line = JsonSerializer.SerializeToUtf8Bytes(request, ControlJson.Default.ControlRequest);
        Array.Resize(ref line, line.Length + 1);
        line[^1] = (byte)'\n';
        await _writing.WaitAsync(cancellation);
        try
        {
            await _stream.WriteAsync(line, cancellation);
        }
        catch (OperationCanceledException)
        {
            // Half a line may be out: nothing that follows would be understood.
            await _over.CancelAsync();
            _socket.Dispose();
            throw;
        }
        finally
        {
            _writing.Release();
        }
    }

    public async ValueTask DisposeAsync()
    {
        await _over.CancelAsync();
        await _stream.DisposeAsync();
        await _reading;
    }

    private async Task ReadAsync()
    {
        try
        {
            while (await ReadLineAsync(_over.Token) is { } line)
            {
                SequencePosition end = line.End;
                if (!line.IsEmpty)
                {
                    Hear(line);
                }

                _reader.AdvanceTo(end);
            }
        }
        catch (Exception error) when (error is IOException or SocketException or OperationCanceledException or ObjectDisposedException
            or MachineException or InvalidOperationException)
        {
            // Whatever it is, nothing more comes from there.
        }

        await _over.CancelAsync();
        await _stream.DisposeAsync();
    }

    /// <returns>The next line, with its end, of which the reader is to be told; null when no more come.</returns>
    private async ValueTask<ReadOnlySequence<byte>?> ReadLineAsync(CancellationToken cancellation)
    {
        while (true)
        {
            ReadResult read = await _reader.ReadAsync(cancellation);
            if (read.Buffer.PositionOf((byte)'\n') is { } end)
            {
                return read.Buffer.Slice(0, read.Buffer.GetPosition(1, end));
            }

            if (read.IsCompleted)
            {
                return null;
            }

            if (read.Buffer.Length > MostLine)
            {
                throw MachineException.Nonsense();
            }

            _reader.AdvanceTo(read.Buffer.Start, read.Buffer.End);
        }
    }

    private void Hear(in ReadOnlySequence<byte> line)
    {
        JsonElement message = Parse(line);
        if (message.ValueKind == JsonValueKind.Object && message.TryGetProperty("event", out _))
        {
            _happened(Read(message, ControlJson.Default.ControlEvent));
            return;
        }

        ControlReply reply = Read(message, ControlJson.Default.ControlReply);
        if (reply.Id is { } id && _pending.TryGetValue(id, out TaskCompletionSource<ControlReply>? answer))
        {
            answer.TrySetResult(reply);     // an answer that came too late is dropped
        }
    }

    private static JsonElement Parse(in ReadOnlySequence<byte> line)
    {
        var reader = new Utf8JsonReader(line);
        try
        {
            return JsonElement.ParseValue(ref reader);
        }
        catch (JsonException)
        {
            throw MachineException.Nonsense();
        }
    }

    /// <summary>The first line: a greeting, or why there is none.</summary>
    private static ControlGreeting Greet(JsonElement message)
    {
        if (message.ValueKind == JsonValueKind.Object && message.TryGetProperty("error", out _)
            && Read(message, ControlJson.Default.ControlReply).Error is { } error)
        {
            throw new MachineException(error.Code, error.Message);
        }

        return Read(message, ControlJson.Default.ControlGreeting);
    }

    private static T Read<T>(JsonElement message, JsonTypeInfo<T> type)
    {
        try
        {
            return message.Deserialize(type) ?? throw MachineException.Nonsense();
        }
        catch (JsonException)
        {
            throw MachineException.Nonsense();
        }
    }
}

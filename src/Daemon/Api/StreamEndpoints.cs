using System.Diagnostics;
using System.Text;
using System.Text.Json;
using Vmm.Daemon.Hosting;
using Vmm.Daemon.Machines;

namespace Vmm.Daemon.Api;

/// <summary>Streams that end when the client closes them: events and logs.</summary>
internal static class StreamEndpoints
{
    private static readonly TimeSpan Heartbeat = TimeSpan.FromSeconds(15);

    public static void Map(IEndpointRouteBuilder app)
    {
        app.MapGet("/v1/events", Events).WithTags("events").WithName("listenToEvents")
            .WithSummary("What happens to machines from now on, as server-sent events")
            .Produces<MachineEvent>(200, "text/event-stream");
        app.MapGet("/v1/machines/{name}/logs", Logs).WithTags("machines").WithName("getLogs")
            .WithSummary("What a machine said; with follow=true also what it says until it ends")
            .Produces<string>(200, "text/plain").ProducesProblem(404).ProducesProblem(409).ProducesProblem(502);
    }

    private static async Task Events(HttpContext context, MachineEvents events, string? machine = null)
    {
        Peer peer = Peer.Of(context);
        CancellationToken gone = context.RequestAborted;
        HttpResponse response = context.Response;
        response.ContentType = "text/event-stream";
        response.Headers.CacheControl = "no-store";
        IAsyncEnumerator<MachineEvent> each = events.Listen(gone).GetAsyncEnumerator(gone);
        try
        {
            await response.Body.FlushAsync(gone);
            ValueTask<bool> next = each.MoveNextAsync();
            for (Task<bool> waiting = next.AsTask(); ;)
            {
                if (await Task.WhenAny(waiting, Task.Delay(Heartbeat, gone)) != waiting)
                {
                    // A line that is a comment, so that both ends notice when the other is gone.
                    await response.Body.WriteAsync(": \n\n"u8.ToArray(), gone);
                    await response.Body.FlushAsync(gone);
                    continue;
                }

                if (!await waiting)
                {
                    return;
                }

                if (peer.MaySee(each.Current.Owner) && (machine is null || machine == each.Current.Machine))
                {
                    await WriteAsync(response, each.Current, gone);
                }

                waiting = each.MoveNextAsync().AsTask();
            }
        }
        catch (OperationCanceledException) when (gone.IsCancellationRequested)
        {
        }
    }

    private static async Task WriteAsync(HttpResponse response, MachineEvent happened, CancellationToken gone)
    {
        string data = JsonSerializer.Serialize(happened, EventJson.Default.MachineEvent);
        await response.WriteAsync($"id: {happened.Id}\nevent: {happened.Event}\ndata: {data}\n\n", gone);
        await response.Body.FlushAsync(gone);
    }

    private static async Task Logs(
        string name, HttpContext context, MachineRegistry registry, VmmProgram vmm, bool? follow = null, string? since = null)
    {
        WatchedMachine machine = registry.Get(name, Peer.Of(context));
        if (machine.IsForeground)
        {
            throw new MachineException("not-now", "it runs in the foreground: what it says goes there; its console shows what comes next");
        }

        List<string> words = ["logs"];
        if (follow == true)
        {
            words.Add("--follow");
        }

        if (since is not null)
        {
            words.Add($"--since={since}");
        }

        words.Add(machine.Name);
        await vmm.CopyAsync(words, context.Response, "text/plain; charset=utf-8", context.RequestAborted);
    }
}

using System.Net.WebSockets;
using System.Text.Json.Serialization.Metadata;
using Microsoft.AspNetCore.Mvc;
using Microsoft.Extensions.Options;
using Vmm.Control;
using Vmm.Daemon.Hosting;
using Vmm.Daemon.Machines;

namespace Vmm.Daemon.Api;

/// <summary>Processes in guests, and their consoles, as WebSockets (RFC 6455).</summary>
internal static class SocketEndpoints
{
    public static void Map(IEndpointRouteBuilder app)
    {
        Socket(app.MapGet("/v1/machines/{name}/exec", Exec), "exec",
            "Run a command in the guest, as a WebSocket. Binary messages: to it standard input, from it a byte 1 (standard output) or 2"
                + " (standard error) and what was written; text: {\"type\":\"end\"}, {\"type\":\"signal\",\"signal\":15},"
                + " {\"type\":\"resize\",\"rows\":24,\"columns\":80}, and at the end {\"type\":\"exited\",\"how\":\"exit\",\"value\":0}");
        Socket(app.MapGet("/v1/machines/{name}/console", Console), "console",
            "The guest's console, as a WebSocket: binary messages both ways; text: {\"type\":\"resize\",\"rows\":24,\"columns\":80}");
    }

    private static void Socket(RouteHandlerBuilder route, string name, string summary) => route.WithTags("machines").WithName(name)
        .WithSummary(summary).Produces(101).ProducesProblem(404).ProducesProblem(409).ProducesProblem(426).ProducesProblem(504);

    private static Task Exec(
        string name, [FromQuery] string[] command, HttpContext context, MachineRegistry registry, IOptions<DaemonOptions> options,
        [FromQuery] string[]? env = null, string? user = null, string? workingDirectory = null, bool tty = false, ushort rows = 0, ushort columns = 0)
    {
        if (command.Length == 0)
        {
            throw new MachineException("bad-arguments", "command: is missing; ?command=ls&command=-l runs ls -l");
        }

        var arguments = new ExecArguments
        {
            Args = command,
            Env = env ?? [],
            User = user,
            Cwd = workingDirectory,
            Tty = tty,
            Rows = rows,
            Columns = columns,
        };
        return CarryAsync(name, context, registry, options, "exec", arguments, ControlJson.Default.ExecArguments, hasTwo: true);
    }

    private static Task Console(
        string name, HttpContext context, MachineRegistry registry, IOptions<DaemonOptions> options, bool replay = false) =>
        CarryAsync(name, context, registry, options, "console", new ConsoleArguments(replay), ControlJson.Default.ConsoleArguments, hasTwo: false);

    private static async Task CarryAsync<T>(
        string name, HttpContext context, MachineRegistry registry, IOptions<DaemonOptions> options, string command, T arguments,
        JsonTypeInfo<T> type, bool hasTwo)
    {
        WatchedMachine machine = registry.Get(name, Peer.Of(context));
        if (!context.WebSockets.IsWebSocketRequest)
        {
            throw new MachineException("no-websocket", "this is a WebSocket: ask for an upgrade (RFC 6455)");
        }

        // Refused before it is one, as a problem, where the machine refuses.
        await using GuestStream stream = await GuestStream.OpenAsync(
            machine, options.Value.AnswerTimeout, command, arguments, type, context.RequestAborted);
        using WebSocket client = await context.WebSockets.AcceptWebSocketAsync();
        await stream.CarryAsync(client, hasTwo, context.RequestAborted);
    }
}

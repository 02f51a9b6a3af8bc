using Microsoft.AspNetCore.Http.HttpResults;
using Vmm.Control;
using Vmm.Daemon.Hosting;
using Vmm.Daemon.Machines;
using Vmm.Daemon.Quotas;

namespace Vmm.Daemon.Api;

/// <summary>Machines: what they are, and what is done to them.</summary>
internal static class MachineEndpoints
{
    public static void Map(IEndpointRouteBuilder app)
    {
        RouteGroupBuilder machines = app.MapGroup("/v1/machines").WithTags("machines");
        machines.MapGet("", List).WithName("listMachines").WithSummary("All machines that the caller may see");
        machines.MapPost("", Make).WithName("makeMachine").WithSummary("Make a machine and start it in the background")
            .ProducesProblem(400).ProducesProblem(403).ProducesProblem(409).ProducesProblem(413).ProducesProblem(422).ProducesProblem(502);
        One(machines.MapGet("/{name}", Get), "getMachine", "Ask a machine how it is").ProducesProblem(504);
        One(machines.MapDelete("/{name}", Remove), "removeMachine", "Remove a machine's files; one that runs only with force=true").ProducesProblem(409);
        Action(machines.MapPost("/{name}/start", Start), "startMachine", "Start a machine that has ended").ProducesProblem(403);
        Action(machines.MapPost("/{name}/stop", Stop), "stopMachine",
            "Ask the guest to shut down and wait until it has; after timeout seconds it is ended").ProducesProblem(422);
        Action(machines.MapPost("/{name}/kill", Kill), "killMachine", "End a machine now");
        Action(machines.MapPost("/{name}/pause", Pause), "pauseMachine", "Stop its virtual CPUs");
        Action(machines.MapPost("/{name}/resume", Resume), "resumeMachine", "Let its virtual CPUs go on");
        Action(machines.MapPost("/{name}/power", Power), "pressPower", "Press its power button");
        Action(machines.MapGet("/{name}/stats", Statistics), "getStatistics", "What a machine has used so far");
        One(machines.MapGet("/{name}/runs", Runs), "getRuns", "The boot timeline of each of its last runs, the last one first");
        app.MapGet("/v1/quota", Quota).WithTags("quota").WithName("getQuota").WithSummary("What the caller has, and may have");
    }

    private static RouteHandlerBuilder One(RouteHandlerBuilder route, string name, string summary) =>
        route.WithName(name).WithSummary(summary).ProducesProblem(404);

    private static RouteHandlerBuilder Action(RouteHandlerBuilder route, string name, string summary) =>
        One(route, name, summary).ProducesProblem(409).ProducesProblem(504);

    private static Ok<MachineList> List(HttpContext context, MachineRegistry registry)
    {
        Peer peer = Peer.Of(context);
        return TypedResults.Ok(new MachineList(
            [.. registry.All.Where(machine => peer.MaySee(machine.Owner)).Select(static machine => machine.View)]));
    }

    private static async Task<Created<MachineView>> Make(MachineRequest request, HttpContext context, MachineLife life)
    {
        WatchedMachine machine = await life.MakeAsync(request, Peer.Of(context));
        return TypedResults.Created($"/v1/machines/{machine.Name}", machine.View);
    }

    private static async Task<Ok<MachineView>> Get(string name, HttpContext context, MachineRegistry registry)
    {
        WatchedMachine machine = registry.Get(name, Peer.Of(context));
        try
        {
            await machine.RefreshAsync(context.RequestAborted);
        }
        catch (MachineException error) when (error.Code == "not-running")
        {
            // Its end is on the way here.
        }

        return TypedResults.Ok(machine.View);
    }

    private static async Task<NoContent> Remove(string name, bool? force, HttpContext context, MachineRegistry registry, MachineLife life)
    {
        Peer peer = Peer.Of(context);
        await life.RemoveAsync(registry.Get(name, peer), force ?? false, peer);
        return TypedResults.NoContent();
    }

    private static async Task<Ok<MachineView>> Start(string name, HttpContext context, MachineRegistry registry, MachineLife life)
    {
        Peer peer = Peer.Of(context);
        return TypedResults.Ok((await life.StartAsync(registry.Get(name, peer), peer)).View);
    }

    private static Task<Ok<MachineView>> Stop(string name, double? timeout, HttpContext context, MachineRegistry registry, MachineLife life) =>
        Do(name, context, registry, (machine, peer) => life.StopAsync(machine, timeout, peer));

    private static Task<Ok<MachineView>> Kill(string name, HttpContext context, MachineRegistry registry, MachineLife life) =>
        Do(name, context, registry, (machine, peer) => life.KillAsync(machine, peer));

    private static Task<Ok<MachineView>> Pause(string name, HttpContext context, MachineRegistry registry, MachineLife life) =>
        Do(name, context, registry, (machine, peer) => life.DoAsync(machine, "pause", peer, context.RequestAborted));

    private static Task<Ok<MachineView>> Resume(string name, HttpContext context, MachineRegistry registry, MachineLife life) =>
        Do(name, context, registry, (machine, peer) => life.DoAsync(machine, "resume", peer, context.RequestAborted));

    private static Task<Ok<MachineView>> Power(string name, HttpContext context, MachineRegistry registry, MachineLife life) =>
        Do(name, context, registry, (machine, peer) => life.DoAsync(machine, "power", peer, context.RequestAborted));

    private static async Task<Ok<ControlStatistics>> Statistics(string name, HttpContext context, MachineRegistry registry) =>
        TypedResults.Ok(await registry.Get(name, Peer.Of(context)).AskStatisticsAsync(context.RequestAborted));

    private static Ok<MachineRuns> Runs(string name, HttpContext context, MachineRegistry registry) =>
        TypedResults.Ok(new MachineRuns(registry.Get(name, Peer.Of(context)).ReadRuns()));

    private static Ok<QuotaUse> Quota(HttpContext context, QuotaBook quotas) => TypedResults.Ok(quotas.Of(Peer.Of(context).Uid));

    private static async Task<Ok<MachineView>> Do(string name, HttpContext context, MachineRegistry registry, Func<WatchedMachine, Peer, Task> action)
    {
        Peer peer = Peer.Of(context);
        WatchedMachine machine = registry.Get(name, peer);
        await action(machine, peer);
        return TypedResults.Ok(machine.View);
    }
}

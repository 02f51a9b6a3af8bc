using System.Text.Json;
using Vmm.Daemon.Tests.Generated;
using Vmm.Daemon.Tests.StandIns;
using Vmm.Tests.Shared;

namespace Vmm.Daemon.Tests.Api;

/// <summary>The client that NSwag makes of docs/vmmd.openapi.json, as the build does, drives every endpoint.</summary>
public sealed class GeneratedClientTests
{
    [Fact]
    public async Task A_client_that_was_generated_drives_every_endpoint()
    {
        using var homes = new TestHomes();
        Directory.CreateDirectory(homes.State);
        await using TestDaemon daemon = await TestDaemon.StartAsync(homes, "--program", StandInProgram.Install(homes.Root));
        var requests = new RequestLog();
        using var http = new HttpClient(requests.Around(TestDaemon.HandlerOf(homes.Socket))) { BaseAddress = new Uri("http://vmmd") };
        var client = new VmmdClient(http);

        MachineView made = await client.MakeMachineAsync(new MachineRequest
        {
            Name = "db",
            Memory = "64M",
            Cpus = 2,
            Root = "none",
            Command = ["sleep", "1000"],
            Environment = new Dictionary<string, string> { ["A"] = "b" },
            Profile = true,
        });
        Assert.Equal(("db", MachineStateName.Running, 64UL << 20), (made.Name, made.State, made.Memory ?? 0));
        Assert.Equal("command starts", made.Steps!.Last().Name);
        Assert.Equal(["db"], (await client.ListMachinesAsync()).Machines.Select(static each => each.Name));
        Assert.Equal(2, (await client.GetMachineAsync("db")).Cpus);
        Assert.Equal(MachineStateName.Paused, (await client.PauseMachineAsync("db")).State);
        ApiException<ProblemDetails> refused = await Assert.ThrowsAsync<ApiException<ProblemDetails>>(() => client.PauseMachineAsync("db"));
        Assert.Equal((409, "it is paused already"), (refused.StatusCode, refused.Result.Detail));
        Assert.Equal(MachineStateName.Running, (await client.ResumeMachineAsync("db")).State);
        Assert.Equal(MachineStateName.Running, (await client.PressPowerAsync("db")).State);
        ControlStatistics use = await client.GetStatisticsAsync("db");
        Assert.Equal((40, 1.5, "COM1"), (use.ExitsByReason["IO"], use.CpuTime, use.ExitsByDevice!.First().Device));
        MachineRun[] runs = [.. (await client.GetRunsAsync("db")).Runs];
        Assert.Equal(["first instruction", "agent", "command starts"], runs[0].Steps!.Select(static step => step.Name));
        Assert.Equal(
            [("first instruction", 0.03), ("kernel speaks", 0.05), ("init", 0.5)], runs[1].Steps!.Select(static step => (step.Name, step.At)));
        Assert.Equal((0, "the guest powered off"), (runs[1].ExitCode, runs[1].Verdict));
        Assert.Equal(1, (await client.GetQuotaAsync()).Machines);
        Assert.Equal("hello from db\n", await client.GetLogsAsync("db"));

        // What follow are streams: such a client gets as far as their beginning.
        Assert.Equal(426, (await Assert.ThrowsAsync<ApiException<ProblemDetails>>(() => client.ExecAsync("db", ["ls"]))).StatusCode);
        Assert.Equal(426, (await Assert.ThrowsAsync<ApiException<ProblemDetails>>(() => client.ConsoleAsync("db"))).StatusCode);
        Task<MachineEvent> listening = client.ListenToEventsAsync("db");
        while (!listening.IsCompleted)
        {
            await client.PauseMachineAsync("db");       // what it hears of is no JSON, but an event
            await client.ResumeMachineAsync("db");
        }

        Assert.Equal(200, (await Assert.ThrowsAsync<ApiException>(() => listening)).StatusCode);

        Assert.Equal(MachineStateName.Exited, (await client.StopMachineAsync("db", 5)).State);
        Assert.Equal(MachineStateName.Running, (await client.StartMachineAsync("db")).State);
        Assert.Equal(137, (await client.KillMachineAsync("db")).ExitCode);
        await client.RemoveMachineAsync("db");
        Assert.Equal(404, (await Assert.ThrowsAsync<ApiException<ProblemDetails>>(() => client.GetMachineAsync("db"))).StatusCode);

        Assert.Equal(Described().Order(), requests.Seen.Select(static each => each.Replace("/db", "/{name}", StringComparison.Ordinal)).Distinct().Order());
    }

    private static IEnumerable<string> Described()
    {
        using JsonDocument document = JsonDocument.Parse(File.ReadAllText(Path.Combine(SourceTree.Root, "docs", "vmmd.openapi.json")));
        return [.. document.RootElement.GetProperty("paths").EnumerateObject().SelectMany(
            static path => path.Value.EnumerateObject().Select(method => $"{method.Name.ToUpperInvariant()} {path.Name}"))];
    }

    private sealed class RequestLog
    {
        public List<string> Seen { get; } = [];

        public DelegatingHandler Around(HttpMessageHandler handler) => new Handler(this) { InnerHandler = handler };

        private sealed class Handler(RequestLog log) : DelegatingHandler
        {
            protected override Task<HttpResponseMessage> SendAsync(HttpRequestMessage request, CancellationToken cancellationToken)
            {
                log.Seen.Add($"{request.Method} {request.RequestUri!.AbsolutePath}");
                return base.SendAsync(request, cancellationToken);
            }
        }
    }
}

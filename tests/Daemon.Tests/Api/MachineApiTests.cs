using System.Net;
using System.Text.Json;
using Vmm.Daemon.Tests.StandIns;

namespace Vmm.Daemon.Tests.Api;

public sealed class MachineApiTests
{
    [Fact]
    public async Task Machines_that_run_already_are_adopted_and_answer()
    {
        using var homes = new TestHomes();
        await using StandInMachine db = homes.Start("db", memory: 512UL << 20, cpus: 2), web = homes.Start("web");
        await using TestDaemon daemon = await TestDaemon.StartAsync(homes);

        JsonElement list = await daemon.GetAsync("/v1/machines");
        Assert.Equal(["db", "web"], list.GetProperty("machines").EnumerateArray().Select(static each => each.GetProperty("name").GetString()));
        JsonElement one = await daemon.GetAsync("/v1/machines/db");
        Assert.Equal("running", one.GetProperty("state").GetString());
        Assert.Equal((512L << 20, 2, Environment.ProcessId), (
            one.GetProperty("memory").GetInt64(), one.GetProperty("cpus").GetInt32(), one.GetProperty("pid").GetInt32()));
        Assert.Equal(
            [("first instruction", 0.034), ("agent", 1.31), ("command starts", 1.32)],
            one.GetProperty("steps").EnumerateArray().Select(static each => (each.GetProperty("name").GetString(), each.GetProperty("at").GetDouble())));
        JsonElement stats = await daemon.GetAsync("/v1/machines/db/stats");
        Assert.Equal(40, stats.GetProperty("exitsByReason").GetProperty("IO").GetInt64());

        await using StandInMachine late = homes.Start("late");
        await Eventually.HoldsAsync(
            async () => (await daemon.SendAsync(HttpMethod.Get, "/v1/machines/late")).Status == HttpStatusCode.OK, "one that came later is found");
    }

    [Fact]
    public async Task A_machine_is_paused_resumed_stopped_killed_and_what_cannot_be_is_said()
    {
        using var homes = new TestHomes();
        await using StandInMachine db = homes.Start("db"), web = homes.Start("web");
        await using TestDaemon daemon = await TestDaemon.StartAsync(homes, "--program", StandInProgram.Install(homes.Root));

        Assert.Equal("paused", await StateAfterAsync(daemon, "db", "pause"));
        (HttpStatusCode status, JsonElement problem) = await daemon.SendAsync(HttpMethod.Post, "/v1/machines/db/pause");
        Assert.Equal((HttpStatusCode.Conflict, "not-now", "it is paused already"), (
            status, problem.GetProperty("code").GetString(), problem.GetProperty("detail").GetString()));
        Assert.Equal("running", await StateAfterAsync(daemon, "db", "resume"));
        Assert.Equal("running", await StateAfterAsync(daemon, "db", "power"));

        Assert.Equal("exited", await StateAfterAsync(daemon, "db", "stop?timeout=5"));
        JsonElement ended = await daemon.GetAsync("/v1/machines/db");
        Assert.Equal((0, "the guest powered off"), (ended.GetProperty("exitCode").GetInt32(), ended.GetProperty("verdict").GetString()));
        Assert.Equal("exited", await StateAfterAsync(daemon, "web", "kill"));
        Assert.Equal(137, (await daemon.GetAsync("/v1/machines/web")).GetProperty("exitCode").GetInt32());

        (status, problem) = await daemon.SendAsync(HttpMethod.Post, "/v1/machines/db/stop");
        Assert.Equal((HttpStatusCode.Conflict, "not-running"), (status, problem.GetProperty("code").GetString()));
        (status, problem) = await daemon.SendAsync(HttpMethod.Get, "/v1/machines/nobody");
        Assert.Equal((HttpStatusCode.NotFound, "no-such-machine"), (status, problem.GetProperty("code").GetString()));
    }

    [Fact]
    public async Task A_machine_is_made_started_again_and_removed_by_vmm()
    {
        using var homes = new TestHomes();
        Directory.CreateDirectory(homes.State);
        string program = StandInProgram.Install(homes.Root);
        await using TestDaemon daemon = await TestDaemon.StartAsync(homes, "--program", program);

        (HttpStatusCode status, JsonElement made) = await daemon.SendAsync(
            HttpMethod.Post, "/v1/machines", """{"name":"db","memory":"64M","cpus":2,"root":"none","command":["sh","-c","exit 3"]}""");
        Assert.Equal(HttpStatusCode.Created, status);
        Assert.Equal(("running", 64L << 20, 2), (
            made.GetProperty("state").GetString(), made.GetProperty("memory").GetInt64(), made.GetProperty("cpus").GetInt32()));
        Assert.Equal(
            ["run", "--config=none", "--detach", "--name=db", "--mem=64M", "--cpus=2", "--root=none", "--", "sh", "-c", "exit 3"],
            await File.ReadAllLinesAsync(Path.Combine(homes.Machine("db"), "arguments")));
        Assert.Equal("hello from db\n", await daemon.Client.GetStringAsync("/v1/machines/db/logs"));

        (status, JsonElement problem) = await daemon.SendAsync(HttpMethod.Post, "/v1/machines", """{"name":"db","kernel":"host"}""");
        Assert.Equal((HttpStatusCode.Conflict, "name-taken"), (status, problem.GetProperty("code").GetString()));
        (status, _) = await daemon.SendAsync(HttpMethod.Delete, "/v1/machines/db");
        Assert.Equal(HttpStatusCode.Conflict, status);

        Assert.Equal("exited", await StateAfterAsync(daemon, "db", "kill"));
        Assert.Equal("running", await StateAfterAsync(daemon, "db", "start"));
        Assert.Equal("exited", await StateAfterAsync(daemon, "db", "stop"));
        (status, _) = await daemon.SendAsync(HttpMethod.Delete, "/v1/machines/db");
        Assert.Equal(HttpStatusCode.NoContent, status);
        Assert.Equal(HttpStatusCode.NotFound, (await daemon.SendAsync(HttpMethod.Get, "/v1/machines/db")).Status);
        Assert.False(File.Exists(Path.Combine(homes.State, "vmm", "vmmd", "owners", "db.json")));
    }

    [Fact]
    public async Task What_vmm_refuses_is_the_callers_mistake_and_leaves_nothing()
    {
        using var homes = new TestHomes();
        string program = StandInProgram.Install(homes.Root);
        await using TestDaemon daemon = await TestDaemon.StartAsync(homes, "--program", program);
        (HttpStatusCode status, JsonElement problem) = await daemon.SendAsync(
            HttpMethod.Post, "/v1/machines", """{"name":"db","kernel":"/no/such"}""");
        Assert.Equal((HttpStatusCode.UnprocessableEntity, "refused", "--kernel /no/such: no such file"), (
            status, problem.GetProperty("code").GetString(), problem.GetProperty("detail").GetString()));
        Assert.Empty((await daemon.GetAsync("/v1/machines")).GetProperty("machines").EnumerateArray());
        Assert.Equal(0, (await daemon.GetAsync("/v1/quota")).GetProperty("machines").GetInt32());
    }

    [Fact]
    public async Task Nobody_gets_more_than_the_quota()
    {
        using var homes = new TestHomes();
        string program = StandInProgram.Install(homes.Root);
        await using StandInMachine db = homes.Start("db", memory: 512UL << 20, cpus: 2);
        await using TestDaemon daemon = await TestDaemon.StartAsync(
            homes, "--program", program, "--Vmmd:Quota:Machines", "2", "--Vmmd:Quota:Memory", "1G", "--Vmmd:Quota:Cpus", "3");

        Assert.Equal("memory: 1025M with this one, and your quota is 1G", await QuotaAsync("""{"name":"a","kernel":"host","memory":"513M"}"""));
        Assert.Equal("CPUs: 4 with this one, and your quota is 3", await QuotaAsync("""{"name":"a","kernel":"host","cpus":2}"""));
        await using StandInMachine web = homes.Start("web", cpus: 1);
        await Eventually.HoldsAsync(async () => (await daemon.GetAsync("/v1/quota")).GetProperty("machines").GetInt32() == 2, "it is counted");
        Assert.Equal("machines: 3 with this one, and your quota is 2", await QuotaAsync("""{"name":"a","kernel":"host"}"""));
        await db.EndAsync();
        await Eventually.HoldsAsync(async () => (await daemon.GetAsync("/v1/quota")).GetProperty("cpus").GetInt32() == 1, "what ended takes no CPUs");
        Assert.Equal(2, (await daemon.GetAsync("/v1/quota")).GetProperty("machines").GetInt32());

        async Task<string?> QuotaAsync(string body)
        {
            (HttpStatusCode status, JsonElement problem) = await daemon.SendAsync(HttpMethod.Post, "/v1/machines", body);
            Assert.Equal((HttpStatusCode.Forbidden, "quota"), (status, problem.GetProperty("code").GetString()));
            return problem.GetProperty("detail").GetString();
        }
    }

    private static async Task<string?> StateAfterAsync(TestDaemon daemon, string machine, string action)
    {
        (HttpStatusCode status, JsonElement view) = await daemon.SendAsync(HttpMethod.Post, $"/v1/machines/{machine}/{action}");
        Assert.True(status == HttpStatusCode.OK, $"{action}: {status} {view}");
        return view.GetProperty("state").GetString();
    }
}

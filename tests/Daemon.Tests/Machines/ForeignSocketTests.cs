using System.Net;
using System.Net.Sockets;
using System.Text;
using System.Text.Json;
using Vmm.Daemon.Tests.StandIns;

namespace Vmm.Daemon.Tests.Machines;

/// <summary>What listens at a control socket need not be a machine.</summary>
public sealed class ForeignSocketTests
{
    [Theory]
    [InlineData("hello\n", "is no machine of vmm's")]
    [InlineData("{}\n", "is no machine of vmm's")]
    [InlineData("[1]\n", "is no machine of vmm's")]
    [InlineData("", "does not answer")]
    [InlineData("""{"protocol":9,"vmm":"7.0","pid":1}""" + "\n", "speaks version 9")]
    [InlineData("""{"error":{"code":"busy","message":"16 clients are connected to this machine already"}}""" + "\n", "16 clients")]
    [InlineData("""{"protocol":1,"vmm":"0.1.0","pid":1}""" + "\nnonsense\n", "has ended")]
    [InlineData("""{"protocol":1,"vmm":"0.1.0","pid":1}""" + "\n", "does not answer")]
    public async Task What_answers_nonsense_or_nothing_is_shown_as_that_and_holds_nobody_up(string says, string fault)
    {
        using var homes = new TestHomes();
        await using StandInMachine db = homes.Start("db");
        using Socket listening = Listen(homes, "odd");
        Task serving = ServeAsync(listening, Encoding.UTF8.GetBytes(says));
        await using TestDaemon daemon = await TestDaemon.StartAsync(homes, "--Vmmd:AnswerTimeout", "00:00:00.2");

        JsonElement odd = await daemon.GetAsync("/v1/machines/odd");
        if (fault == "has ended")
        {
            Assert.Equal("damaged", odd.GetProperty("state").GetString());
        }
        else
        {
            Assert.Equal("silent", odd.GetProperty("state").GetString());
            Assert.Contains(fault, odd.GetProperty("fault").GetString(), StringComparison.Ordinal);
        }

        await Eventually.HoldsAsync(
            async () => (await daemon.GetAsync("/v1/machines/db")).GetProperty("state").GetString() == "running", "the other one answers");
        listening.Dispose();
        await serving;
    }

    [Fact]
    public async Task A_line_without_an_end_is_not_kept()
    {
        using var homes = new TestHomes();
        using Socket listening = Listen(homes, "odd");
        Task serving = ServeAsync(listening, [.. """{"protocol":1,"vmm":"0.1.0","pid":1}"""u8, (byte)'\n', .. new byte[3 << 20]]);
        await using TestDaemon daemon = await TestDaemon.StartAsync(homes, "--Vmmd:AnswerTimeout", "00:00:02");
        Assert.NotEqual("running", (await daemon.GetAsync("/v1/machines/odd")).GetProperty("state").GetString());
        listening.Dispose();
        await serving;
    }

    [Fact]
    public async Task A_machine_that_falls_silent_is_said_to_and_one_that_was_killed_is_dead()
    {
        using var homes = new TestHomes();
        await using StandInMachine db = homes.Start("db"), web = homes.Start("web");
        await using TestDaemon daemon = await TestDaemon.StartAsync(homes, "--Vmmd:AnswerTimeout", "00:00:00.3");
        db.FallSilent();
        (HttpStatusCode status, JsonElement problem) = await daemon.SendAsync(HttpMethod.Get, "/v1/machines/db");
        Assert.Equal((HttpStatusCode.GatewayTimeout, "no-answer"), (status, problem.GetProperty("code").GetString()));
        Assert.Equal("running", (await daemon.GetAsync("/v1/machines/web")).GetProperty("state").GetString());

        await web.DisposeAsync();
        await Eventually.HoldsAsync(
            async () => (await daemon.GetAsync("/v1/machines/web")).GetProperty("state").GetString() == "dead", "it is dead");
        Directory.Delete(homes.Machine("web"), recursive: true);
        Directory.Delete(homes.ControlDirectory("web"), recursive: true);
        await Eventually.HoldsAsync(
            async () => (await daemon.SendAsync(HttpMethod.Get, "/v1/machines/web")).Status == HttpStatusCode.NotFound, "it is gone");
    }

    [Fact]
    public async Task Files_that_are_damaged_are_said_to_be()
    {
        using var homes = new TestHomes();
        Directory.CreateDirectory(homes.Machine("odd"));
        await File.WriteAllTextAsync(Path.Combine(homes.Machine("odd"), "machine.json"), "{\"version\":1,");
        Directory.CreateDirectory(homes.Machine("new"));
        await File.WriteAllTextAsync(Path.Combine(homes.Machine("new"), "machine.json"), """{"version":2,"kernel":"x","memory":1,"cpus":1}""");
        Directory.CreateDirectory(homes.Machine("Not a name"));
        await using TestDaemon daemon = await TestDaemon.StartAsync(homes);
        JsonElement machines = (await daemon.GetAsync("/v1/machines")).GetProperty("machines");
        Assert.Equal(
            ["its machine.json was written by another vmm (version 2)", "its machine.json is damaged"],
            machines.EnumerateArray().Select(static each => each.GetProperty("fault").GetString()));
    }

    private static Socket Listen(TestHomes homes, string name)
    {
        Directory.CreateDirectory(homes.ControlDirectory(name));
        var listening = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
        listening.Bind(new UnixDomainSocketEndPoint(Path.Combine(homes.ControlDirectory(name), "control.sock")));
        listening.Listen(16);
        return listening;
    }

    private static async Task ServeAsync(Socket listening, byte[] says)
    {
        var clients = new List<Socket>();
        try
        {
            while (true)
            {
                Socket client = await listening.AcceptAsync();
                clients.Add(client);
                _ = client.SendAsync(says);
            }
        }
        catch (Exception error) when (error is SocketException or ObjectDisposedException)
        {
        }

        clients.ForEach(static each => each.Dispose());
    }
}

using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Options;
using Vmm.Daemon.Hosting;
using Vmm.Daemon.Tests.StandIns;

namespace Vmm.Daemon.Tests.Hosting;

public sealed class OptionsTests
{
    [Theory]
    [InlineData("--Vmmd:SocketMode", "0999", "Vmmd:SocketMode 0999: not a mode")]
    [InlineData("--Vmmd:Program", "vmm", "Vmmd:Program vmm: not an absolute path")]
    [InlineData("--Vmmd:AnswerTimeout", "2.00:00:00", "Vmmd:AnswerTimeout 2.00:00:00: from")]
    [InlineData("--Vmmd:Quota:Memory", "lots", "Vmmd:Quota:Memory lots: not a size")]
    [InlineData("--Vmmd:Quota:Machines", "-1", "Vmmd:Quota:Machines -1: below 0")]
    [InlineData("--Vmmd:Quotas:bob:Cpus", "1", "Vmmd:Quotas:bob: users are given by number")]
    [InlineData("--Vmmd:Tcp:Address", "127.0.0.1:7767", "Vmmd:Tcp:Certificate is missing: TCP is served with certificates only")]
    [InlineData("--Vmmd:Tcp:Address", "127.0.0.1", "Vmmd:Tcp:Address 127.0.0.1: not an address with a port")]
    public async Task A_setting_that_cannot_be_is_a_line_of_its_own(string key, string value, string line)
    {
        using var homes = new TestHomes();
        OptionsValidationException error = await Assert.ThrowsAsync<OptionsValidationException>(() => TestDaemon.StartAsync(homes, key, value));
        Assert.Contains(error.Failures, each => each.StartsWith(line, StringComparison.Ordinal));
    }

    [Theory]
    [InlineData("--Vmmd:Sokcet", "/tmp/x", "Sokcet")]
    [InlineData("--Vmmd:MostConnections", "many", "Vmmd:MostConnections")]
    public async Task A_key_or_a_value_that_there_is_not_is_refused(string key, string value, string said)
    {
        using var homes = new TestHomes();
        ConfigurationException error = await Assert.ThrowsAsync<ConfigurationException>(() => TestDaemon.StartAsync(homes, key, value));
        Assert.Contains(said, error.Message, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("--urls=http://*:80")]
    [InlineData("--http_ports=80")]
    [InlineData("--Kestrel:Endpoints:Http:Url=http://*:80")]
    public void Other_ways_to_open_a_port_are_refused(string argument)
    {
        using var homes = new TestHomes();
        ConfigurationException error = Assert.Throws<ConfigurationException>(() => DaemonHost.Build(homes.Arguments(argument)));
        Assert.Contains("on TCP only with certificates", error.Message, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("start")]
    [InlineData("--frobnicate", "1")]
    [InlineData("--socket")]
    public void An_argument_that_is_no_setting_is_refused(params string[] args) =>
        Assert.Throws<ConfigurationException>(() => DaemonHelp.CheckArguments(args));

    [Fact]
    public async Task Settings_come_from_a_file_and_the_command_line_comes_first()
    {
        using var homes = new TestHomes();
        await File.WriteAllTextAsync(
            Path.Combine(homes.Root, "appsettings.json"), """{"Vmmd":{"Quota":{"Machines":3,"Cpus":5},"Files":["/srv"]}}""");
        await using TestDaemon daemon = await TestDaemon.StartAsync(homes, "--Vmmd:Quota:Cpus", "7");
        DaemonOptions options = daemon.Services.GetRequiredService<IOptions<DaemonOptions>>().Value;
        Assert.Equal((3, 7, "/srv"), (options.Quota.Machines, options.Quota.Cpus, Assert.Single(options.Files)));
    }

    [Fact]
    public async Task Of_two_on_one_socket_the_second_is_refused_and_one_that_was_killed_is_followed()
    {
        using var homes = new TestHomes();
        await using (await TestDaemon.StartAsync(homes))
        {
            ConfigurationException error = await Assert.ThrowsAsync<ConfigurationException>(() => TestDaemon.StartAsync(homes));
            Assert.Contains("another vmmd listens there", error.Message, StringComparison.Ordinal);
        }

        using (var left = new System.Net.Sockets.Socket(
            System.Net.Sockets.AddressFamily.Unix, System.Net.Sockets.SocketType.Stream, System.Net.Sockets.ProtocolType.Unspecified))
        {
            left.Bind(new System.Net.Sockets.UnixDomainSocketEndPoint(homes.Root + "/left"));
        }

        File.WriteAllText(homes.Root + "/file", "x");
        Assert.Throws<ConfigurationException>(() => new OwnedSocket(homes.Root + "/file"));
        await using TestDaemon again = await TestDaemon.StartAsync(homes);
        Assert.Equal((UnixFileMode)0x180, File.GetUnixFileMode(homes.Socket));     // 0600
    }
}

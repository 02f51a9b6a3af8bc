using System.Diagnostics;
using System.Globalization;
using System.Text.Json;
using Vmm.Daemon.Tests.StandIns;

namespace Vmm.Daemon.Tests.Hosting;

public sealed class KilledDaemonTests
{
    /// <summary>VMMD_KILLS is how often it is killed, 4 times if not given.</summary>
    [Fact]
    public async Task A_vmmd_that_is_killed_loses_no_machine()
    {
        int rounds = Environment.GetEnvironmentVariable("VMMD_KILLS") is { Length: > 0 } kills ? int.Parse(kills, CultureInfo.InvariantCulture) : 4;
        using var homes = new TestHomes();
        string program = StandInProgram.Install(homes.Root);
        await using StandInMachine db = homes.Start("db"), web = homes.Start("web");
        using HttpClient client = TestDaemon.ClientOf(homes.Socket);
        for (int round = 0; round < rounds; round++)
        {
            using Process daemon = Start(homes.Arguments("--program", program));
            try
            {
                await Eventually.HoldsAsync(() => IsUpAsync(client), "vmmd is up");

                // All that ran before is known at once; one more is on its way when vmmd is killed.
                Assert.Equal(["db", .. Made(round), "web"], await NamesAsync(client, "running"));
                using var content = new StringContent(
                    $$"""{"name":"made{{round:000}}","kernel":"host"}""", System.Text.Encoding.UTF8, "application/json");
                Task<HttpResponseMessage> making = client.PostAsync("/v1/machines", content);
                Task load = LoadAsync(client);
                await Eventually.HoldsAsync(() => Task.FromResult(Directory.Exists(homes.Machine($"made{round:000}"))), "it is being made");
                daemon.Kill();
                await daemon.WaitForExitAsync();
                await load;
                try
                {
                    (await making).Dispose();
                }
                catch (HttpRequestException)
                {
                    // As it happened.
                }

                await Eventually.HoldsAsync(
                    () => Task.FromResult(File.Exists(Path.Combine(homes.ControlDirectory($"made{round:000}"), "control.sock"))), "it runs");
            }
            finally
            {
                daemon.Kill();
            }
        }

        await using TestDaemon last = await TestDaemon.StartAsync(homes, "--program", program);
        Assert.Equal(["db", .. Made(rounds), "web"], await NamesAsync(last.Client, "running"));
        foreach (string name in Made(rounds))
        {
            using HttpResponseMessage response = await last.Client.PostAsync($"/v1/machines/{name}/kill", null);
            Assert.True(response.IsSuccessStatusCode);
        }
    }

    [Fact]
    public async Task Mistakes_are_one_line_and_exit_code_64()
    {
        using var homes = new TestHomes();
        using Process daemon = Start(homes.Arguments("--Vmmd:Quota:Memory", "lots"));
        string said = await daemon.StandardError.ReadToEndAsync();
        await daemon.WaitForExitAsync();
        Assert.Equal((64, "vmmd: Vmmd:Quota:Memory lots: not a size; give bytes, or a number with K, M, G or T, for instance 8G\n"), (daemon.ExitCode, said));
    }

    private static IEnumerable<string> Made(int count) => Enumerable.Range(0, count).Select(static i => $"made{i:000}");

    private static Process Start(string[] arguments) => Process.Start(new ProcessStartInfo(
        Environment.ProcessPath!, [Path.Combine(AppContext.BaseDirectory, "vmmd.dll"), .. arguments])
    {
        RedirectStandardError = true,
    })!;

    private static async Task<bool> IsUpAsync(HttpClient client)
    {
        try
        {
            using HttpResponseMessage response = await client.GetAsync("/health/live");
            return response.IsSuccessStatusCode;
        }
        catch (HttpRequestException)
        {
            return false;
        }
    }

    private static async Task LoadAsync(HttpClient client)
    {
        try
        {
            while (true)
            {
                _ = await client.GetStringAsync("/v1/machines/db");
            }
        }
        catch (Exception error) when (error is HttpRequestException or IOException)
        {
        }
    }

    private static async Task<List<string?>> NamesAsync(HttpClient client, string state)
    {
        using JsonDocument document = JsonDocument.Parse(await client.GetStringAsync("/v1/machines"));
        return [.. document.RootElement.GetProperty("machines").EnumerateArray()
            .Where(each => each.GetProperty("state").GetString() == state).Select(static each => each.GetProperty("name").GetString())];
    }
}

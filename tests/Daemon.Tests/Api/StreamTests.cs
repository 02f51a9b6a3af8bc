using System.Diagnostics;
using System.Net;
using System.Text.Json;
using Vmm.Daemon.Tests.StandIns;

namespace Vmm.Daemon.Tests.Api;

public sealed class StreamTests
{
    [Fact]
    public async Task Events_are_told_as_they_happen()
    {
        using var homes = new TestHomes();
        await using StandInMachine db = homes.Start("db"), web = homes.Start("web");
        await using TestDaemon daemon = await TestDaemon.StartAsync(homes);
        using HttpResponseMessage response = await daemon.Client.GetAsync("/v1/events?machine=db", HttpCompletionOption.ResponseHeadersRead);
        Assert.Equal("text/event-stream", response.Content.Headers.ContentType?.MediaType);
        using var reader = new StreamReader(await response.Content.ReadAsStreamAsync());

        await web.ComplainAsync("KASAN", "another one's");
        await db.ComplainAsync("KASAN", "use after free");
        JsonElement complaint = await NextAsync(reader, "complaint");
        Assert.Equal(("db", "KASAN", "use after free"), (
            complaint.GetProperty("machine").GetString(), complaint.GetProperty("kind").GetString(), complaint.GetProperty("text").GetString()));
        await daemon.SendAsync(HttpMethod.Post, "/v1/machines/db/pause");
        Assert.Equal("paused", (await NextAsync(reader, "state")).GetProperty("state").GetString());
        await db.EndAsync(3);
        Assert.Equal(3, (await NextAsync(reader, "ended")).GetProperty("code").GetInt32());
    }

    [Fact]
    public async Task Figures_are_given_as_Prometheus_has_them()
    {
        using var homes = new TestHomes();
        await using StandInMachine db = homes.Start("db");
        await using TestDaemon daemon = await TestDaemon.StartAsync(homes);
        string text = await daemon.Client.GetStringAsync("/metrics");
        foreach (string line in (string[])
        [
            "vmm_machines{otel_scope_name=\"Vmm.Daemon\",state=\"running\"} 1",
            "vmm_machine_exits_total{otel_scope_name=\"Vmm.Daemon\",machine=\"db\",reason=\"MMIO\"} 6",
            "vmm_machine_cpu_time_seconds_total{otel_scope_name=\"Vmm.Daemon\",machine=\"db\"} 1.5",
            "vmm_machine_memory_resident_bytes{otel_scope_name=\"Vmm.Daemon\",machine=\"db\"} 67108864",
            "vmm_machine_disk_requests_total{otel_scope_name=\"Vmm.Daemon\",disk=\"vda\",machine=\"db\",operation=\"write\"} 50",
            "vmm_machine_network_io_bytes_total{otel_scope_name=\"Vmm.Daemon\",direction=\"receive\",interface=\"eth0\",machine=\"db\"} 2000",

            // Of a machine that times its exits; bounds are powers of two of a nanosecond.
            "vmm_machine_exit_duration_seconds_bucket{machine=\"db\",reason=\"IO\",device=\"COM1\",le=\"4.096E-06\"} 10",
            "vmm_machine_exit_duration_seconds_bucket{machine=\"db\",reason=\"IO\",device=\"COM1\",le=\"+Inf\"} 40",
            "vmm_machine_exit_duration_seconds_sum{machine=\"db\",reason=\"MMIO\",device=\"virtio-blk0 \\\"\\\\\"} 2.5",
            "vmm_machine_exit_duration_seconds_count{machine=\"db\",reason=\"MMIO\",device=\"virtio-blk0 \\\"\\\\\"} 6",
        ])
        {
            Assert.Contains(line, text, StringComparison.Ordinal);
        }

        Assert.DoesNotContain("HLT", text, StringComparison.Ordinal);       // its figures cannot be read
    }

    /// <summary>By the program that Prometheus comes with.</summary>
    [PromtoolFact]
    public async Task Promtool_finds_nothing_wrong_with_them()
    {
        using var homes = new TestHomes();
        await using StandInMachine db = homes.Start("db"), web = homes.Start("web");
        await using TestDaemon daemon = await TestDaemon.StartAsync(homes);
        await daemon.GetAsync("/v1/machines/db");       // so that there are figures of requests, too
        string text = await daemon.Client.GetStringAsync("/metrics");
        using var promtool = Process.Start(new ProcessStartInfo(PromtoolFactAttribute.Program!, ["check", "metrics"])
        {
            RedirectStandardInput = true,
            RedirectStandardOutput = true,
            RedirectStandardError = true,
        })!;
        Task<string> output = promtool.StandardOutput.ReadToEndAsync(), error = promtool.StandardError.ReadToEndAsync();
        await promtool.StandardInput.WriteAsync(text);
        promtool.StandardInput.Close();
        await promtool.WaitForExitAsync();
        Assert.True(promtool.ExitCode == 0, $"{await output}{await error}\n{text}");
    }

    [Fact]
    public async Task Health_says_what_is_missing()
    {
        using var homes = new TestHomes();
        await using TestDaemon daemon = await TestDaemon.StartAsync(homes, "--program", "/no/such/vmm");
        Assert.Equal("Healthy", (await daemon.GetAsync("/health/live")).GetProperty("status").GetString());
        using HttpResponseMessage response = await daemon.Client.GetAsync("/health/ready");
        Assert.Equal(HttpStatusCode.ServiceUnavailable, response.StatusCode);
        Assert.Contains("/no/such/vmm: no such file", await response.Content.ReadAsStringAsync(), StringComparison.Ordinal);
    }

    private static async Task<JsonElement> NextAsync(StreamReader reader, string kind)
    {
        using var limit = new CancellationTokenSource(TimeSpan.FromSeconds(20));
        while (await reader.ReadLineAsync(limit.Token) is { } line)
        {
            if (line != $"event: {kind}")
            {
                continue;
            }

            string data = await reader.ReadLineAsync(limit.Token) ?? "";
            using JsonDocument document = JsonDocument.Parse(data["data: ".Length..]);
            return document.RootElement.Clone();
        }

        throw new InvalidOperationException($"the stream ended before an event '{kind}'");
    }
}

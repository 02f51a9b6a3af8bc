using System.Net;
using System.Text.Json;
using System.Text.Json.Nodes;
using Vmm.Daemon.Tests.StandIns;

namespace Vmm.Daemon.Tests.Api;

/// <summary>The page in headless Chromium, by keyboard alone. Chromium is a big install: scripts/check-page says where it is, and
/// where the pictures go; without that these tests do nothing.</summary>
public sealed class BrowserPageTests
{
    private static readonly string? Chromium = Setting("VMMD_CHROMIUM");

    /// <summary>web has ended before; db runs.</summary>
    [Fact]
    public async Task A_machine_is_started_and_answers_at_its_console_others_are_shown_and_paused()
    {
        if (Chromium is null)
        {
            return;
        }

        using var homes = new TestHomes();
        await using StandInMachine db = homes.Start("db", memory: 512UL << 20, cpus: 2), ended = homes.Start("web");
        await ended.EndAsync();
        await using TestDaemon daemon = await TestDaemon.StartAsync(homes, "--program", StandInProgram.Install(homes.Root));
        using var port = new ForwardedPort(homes.Socket);
        await using var browser = await Browser.StartAsync(Chromium, homes.Root);
        await browser.SendAsync("Page.navigate", new JsonObject { ["url"] = $"http://localhost:{port.Number}/" });
        await browser.HoldsAsync("document.querySelectorAll('#rows tr').length === 2");
        await browser.HoldsAsync(State("db", "running"));
        await browser.HoldsAsync(State("web", "exited"));
        await browser.HoldsAsync(
            "document.querySelector('tr[data-name=db] .bar').title === 'first instruction after 34 ms, agent after 1.3 s, command starts after 1.3 s'");

        await browser.TabAndEnterAsync("tr[data-name=web] [data-action=start]");
        try
        {
            await browser.HoldsAsync(State("web", "running"));
            await browser.HoldsAsync(Said("web: running"));
            await TypeAtConsoleAsync(browser, "web", "uname -s");
            await browser.HoldsAsync(OnScreen("web has heard 8 characters"));

            // Out of the console, to where one came from.
            await browser.KeyAsync("X", "", "KeyX", modifiers: 2 | 8);
            await browser.HoldsAsync("document.getElementById('console').hidden");
            await browser.HoldsAsync("document.activeElement.matches('tr[data-name=web] [data-action=console]')");

            await browser.TabAndEnterAsync("tr[data-name=db] [data-action=pause]");
            await browser.HoldsAsync(State("db", "paused"));
            await browser.TabAndEnterAsync("tr[data-name=db] [data-action=runs]");
            await browser.HoldsAsync("document.querySelectorAll('#history tr').length === 2");
            await browser.HoldsAsync(
                "document.querySelector('#history tr:last-child .steps').textContent === 'first instruction 0.030 · kernel speaks 0.050 · init 0.500'");
            await TypeAtConsoleAsync(browser, "web", "uname -a");
            await browser.HoldsAsync(OnScreen("web has heard 8 characters"));

            // Light, then dark.
            const string Background = "getComputedStyle(document.body).backgroundColor";
            await browser.HoldsAsync($"{Background} === 'rgb(255, 255, 255)'");
            await browser.PictureAsync(Setting("VMMD_PICTURE"));
            await browser.SendAsync("Emulation.setEmulatedMedia", new JsonObject
            {
                ["features"] = new JsonArray(new JsonObject { ["name"] = "prefers-color-scheme", ["value"] = "dark" }),
            });
            await browser.HoldsAsync($"{Background} === 'rgb(24, 27, 32)'");
            await browser.PictureAsync(Setting("VMMD_DARK_PICTURE"));
            Assert.Empty(browser.Complaints);
        }
        finally
        {
            await daemon.SendAsync(HttpMethod.Post, "/v1/machines/web/kill");
        }
    }

    /// <summary>With vmm itself (VMMD_VMM) and the reference kernel and root (VMMD_GUEST, their directory), where there is KVM.</summary>
    [Fact]
    public async Task A_real_machine_is_started_and_its_shell_answers()
    {
        if (Chromium is null || Setting("VMMD_VMM") is not { } vmm || Setting("VMMD_GUEST") is not { } guest)
        {
            return;
        }

        using var homes = new TestHomes();
        string disk = Path.Combine(homes.Root, "disk.img");
        File.Copy(Path.Combine(guest, "rootfs.img"), disk);
        File.SetUnixFileMode(disk, UnixFileMode.UserRead | UnixFileMode.UserWrite);
        await using TestDaemon daemon = await TestDaemon.StartAsync(homes, "--program", vmm);
        (HttpStatusCode status, JsonElement made) = await daemon.SendAsync(
            HttpMethod.Post, "/v1/machines", $$"""{"name":"shell","kernel":"{{guest}}/vmlinux","memory":"128M","disks":[{"path":"{{disk}}"}]}""");
        Assert.True(status == HttpStatusCode.Created, made.ToString());
        try
        {
            await daemon.SendAsync(HttpMethod.Post, "/v1/machines/shell/kill");
            using var port = new ForwardedPort(homes.Socket);
            await using var browser = await Browser.StartAsync(Chromium, homes.Root);
            await browser.SendAsync("Page.navigate", new JsonObject { ["url"] = $"http://localhost:{port.Number}/" });
            await browser.HoldsAsync(State("shell", "exited (137)"));
            await browser.TabAndEnterAsync("tr[data-name=shell] [data-action=start]");
            await browser.HoldsAsync(State("shell", "running"));
            await browser.TabAndEnterAsync("tr[data-name=shell] [data-action=console]");
            await browser.HoldsAsync(OnScreen("# "), seconds: 120);
            await browser.TypeAsync("echo $(uname -s) $((6 * 7))");
            await browser.HoldsAsync(OnScreen("Linux 42"), seconds: 60);
            await browser.PictureAsync(Setting("VMMD_REAL_PICTURE"));

            // A kernel with a long path makes the page no wider than the window.
            await browser.HoldsAsync("document.querySelector('tr[data-name=shell] [data-key=kernel]').textContent === 'vmlinux'");
            await browser.HoldsAsync("document.documentElement.scrollWidth <= innerWidth");
            Assert.Empty(browser.Complaints);
        }
        finally
        {
            await daemon.SendAsync(HttpMethod.Delete, "/v1/machines/shell?force=true");
        }
    }

    private static async Task TypeAtConsoleAsync(Browser browser, string machine, string line)
    {
        await browser.TabAndEnterAsync($"tr[data-name={machine}] [data-action=console]");
        await browser.HoldsAsync(Said($"{machine}: console"));
        await browser.TypeAsync(line);
    }

    private static string State(string machine, string state) =>
        $"document.querySelector('tr[data-name={machine}] [data-key=state]').textContent === '{state}'";

    private static string Said(string text) => $"document.getElementById('said').textContent === '{text}'";

    /// <summary>The lines of the console have it.</summary>
    private static string OnScreen(string text) => $"document.querySelector('.xterm-rows').textContent.replaceAll('\\u00a0', ' ').includes('{text}')";

    private static string? Setting(string name) => Environment.GetEnvironmentVariable(name) is { Length: > 0 } value ? value : null;
}

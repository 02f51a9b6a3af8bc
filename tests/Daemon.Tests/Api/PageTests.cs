using System.Net;
using System.Net.Sockets;
using System.Text.Json.Nodes;
using System.Text.RegularExpressions;
using Vmm.Daemon.Tests.StandIns;

namespace Vmm.Daemon.Tests.Api;

public sealed class PageTests
{
    [Fact]
    public async Task The_page_is_one_document_that_needs_nothing_from_elsewhere()
    {
        using var homes = new TestHomes();
        await using TestDaemon daemon = await TestDaemon.StartAsync(homes);
        using HttpResponseMessage response = await daemon.Client.GetAsync("/");
        string page = await response.Content.ReadAsStringAsync();
        string policy = response.Headers.GetValues("Content-Security-Policy").Single();
        string nonce = Regex.Match(policy, "'nonce-([^']+)'").Groups[1].Value;
        Assert.Equal(2, Regex.Count(page, $"<script nonce=\"{Regex.Escape(nonce)}\">"));
        Assert.Equal(2, Regex.Count(page, "<script"));
        Assert.DoesNotContain("/*xterm", page, StringComparison.Ordinal);
        Assert.DoesNotMatch("(?:src|href)=\"(?!data:)", page);
        Assert.NotEqual(page, await daemon.Client.GetStringAsync("/"));      // a nonce of its own
    }

    /// <summary>In headless Chromium, which is a big install: scripts/check-page says where it is, and where the picture goes.</summary>
    [Fact]
    public async Task In_a_browser_machines_are_shown_paused_and_typed_at()
    {
        if (Environment.GetEnvironmentVariable("VMMD_CHROMIUM") is not { Length: > 0 } chromium)
        {
            return;
        }

        using var homes = new TestHomes();
        await using StandInMachine db = homes.Start("db", memory: 512UL << 20, cpus: 2), web = homes.Start("web");
        await using TestDaemon daemon = await TestDaemon.StartAsync(homes);
        using var forwarding = new TcpListener(IPAddress.Loopback, 0);
        forwarding.Start();
        _ = ForwardAsync(forwarding, homes.Socket);
        string url = $"http://localhost:{((IPEndPoint)forwarding.LocalEndpoint).Port}/";

        await using var browser = await Browser.StartAsync(chromium, homes.Root);
        await browser.SendAsync("Page.navigate", new JsonObject { ["url"] = url });
        await browser.HoldsAsync("""document.querySelectorAll('#rows tr').length === 2""");
        await browser.HoldsAsync("""document.querySelector('tr[data-name=db] [data-key=state]').textContent === 'running'""");

        await browser.HoldsAsync(
            """document.querySelector('tr[data-name=db] .bar').title === 'first instruction after 34 ms, agent after 1.3 s, command starts after 1.3 s'""");

        // By the keyboard alone: to the button that has the focus, and Enter.
        await browser.RunAsync("""document.querySelector('tr[data-name=web] [data-action=pause]').focus()""");
        await browser.KeyAsync("Enter", "\r");
        await browser.HoldsAsync("""document.querySelector('tr[data-name=web] [data-key=state]').textContent === 'paused'""");

        await browser.RunAsync("""document.querySelector('tr[data-name=db] [data-action=runs]').focus()""");
        await browser.KeyAsync("Enter", "\r");
        await browser.HoldsAsync("""document.querySelectorAll('#history tr').length === 2""");
        await browser.HoldsAsync(
            """document.querySelector('#history tr:last-child .steps').textContent === 'first instruction 0.030 · kernel speaks 0.050 · init 0.500'""");

        await browser.RunAsync("""document.querySelector('tr[data-name=db] [data-action=console]').focus()""");
        await browser.KeyAsync("Enter", "\r");
        await browser.HoldsAsync("""document.getElementById('said').textContent === 'db: console'""");
        foreach (char key in "uname")
        {
            await browser.KeyAsync(key.ToString(), key.ToString());
        }

        // The stand-in's guest gives back what is typed.
        await browser.HoldsAsync("""document.querySelector('.xterm-rows').textContent.includes('uname')""");
        await browser.PictureAsync(Environment.GetEnvironmentVariable("VMMD_PICTURE"));
        Assert.Empty(browser.Complaints);
    }

    private static async Task ForwardAsync(TcpListener listener, string socket)
    {
        try
        {
            while (true)
            {
                TcpClient client = await listener.AcceptTcpClientAsync();
                _ = CarryAsync(client, socket);
            }
        }
        catch (Exception error) when (error is SocketException or ObjectDisposedException)
        {
        }
    }

    private static async Task CarryAsync(TcpClient client, string socket)
    {
        using (client)
        {
            try
            {
                await using var vmmd = new NetworkStream(await TestDaemon.ConnectAsync(socket), ownsSocket: true);
                await Task.WhenAny(client.GetStream().CopyToAsync(vmmd), vmmd.CopyToAsync(client.GetStream()));
            }
            catch (IOException)
            {
            }
        }
    }
}

using System.Diagnostics;
using System.Net.WebSockets;
using System.Text;
using System.Text.Json.Nodes;

namespace Vmm.Daemon.Tests.StandIns;

/// <summary>A headless Chromium, driven by its DevTools protocol.</summary>
internal sealed class Browser : IAsyncDisposable
{
    private readonly Process _process;
    private readonly ClientWebSocket _socket = new();
    private int _last;

    private Browser(Process process) => _process = process;

    /// <summary>What the page's console and its policy said.</summary>
    public List<string> Complaints { get; } = [];

    public static async Task<Browser> StartAsync(string program, string directory)
    {
        string profile = Path.Combine(directory, "chromium");
        Process process = Process.Start(new ProcessStartInfo(program,
        [
            "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--remote-debugging-port=0", $"--user-data-dir={profile}",
            "--window-size=1200,800", "about:blank",
        ])
        {
            RedirectStandardError = true,
            RedirectStandardOutput = true,
        })!;
        process.BeginErrorReadLine();
        process.BeginOutputReadLine();
        var browser = new Browser(process);
        string port = Path.Combine(profile, "DevToolsActivePort");
        await Eventually.HoldsAsync(() => Task.FromResult(File.Exists(port) && new FileInfo(port).Length > 0), "Chromium is up");
        string number = (await File.ReadAllLinesAsync(port))[0];
        using var client = new HttpClient();
        JsonNode pages = JsonNode.Parse(await client.GetStringAsync($"http://127.0.0.1:{number}/json"))!;
        string url = pages.AsArray().First(static each => (string?)each!["type"] == "page")!["webSocketDebuggerUrl"]!.ToString();
        await browser._socket.ConnectAsync(new Uri(url), CancellationToken.None);
        await browser.SendAsync("Runtime.enable");
        await browser.SendAsync("Log.enable");
        await browser.SendAsync("Page.enable");
        return browser;
    }

    public async Task<JsonNode?> SendAsync(string method, JsonObject? parameters = null)
    {
        int id = ++_last;
        string text = new JsonObject { ["id"] = id, ["method"] = method, ["params"] = parameters ?? [] }.ToJsonString();
        await _socket.SendAsync(Encoding.UTF8.GetBytes(text), WebSocketMessageType.Text, true, CancellationToken.None);
        while (true)
        {
            JsonNode message = await ReceiveAsync();
            if ((int?)message["id"] == id)
            {
                return message["error"] is { } error ? throw new InvalidOperationException($"{method}: {error}") : message["result"];
            }

            if ((string?)message["method"] is "Runtime.exceptionThrown" or "Log.entryAdded")
            {
                Complaints.Add(message["params"]!.ToJsonString());
            }
        }
    }

    public async Task<JsonNode?> RunAsync(string script)
    {
        JsonNode? result = await SendAsync("Runtime.evaluate", new JsonObject { ["expression"] = script, ["returnByValue"] = true });
        return result?["result"]?["value"];
    }

    public Task HoldsAsync(string condition, int seconds = 20) => Eventually.HoldsAsync(() => IsAsync(condition), condition, seconds);

    /// <param name="text">What the key writes; empty for none.</param>
    /// <param name="code">The key's place on the keyboard, for instance KeyX.</param>
    /// <param name="modifiers">1 Alt, 2 Control, 4 Meta, 8 Shift, added up.</param>
    public async Task KeyAsync(string key, string text, string code = "", int modifiers = 0)
    {
        // Of a key that is no letter and no digit the number is not its character's: '-' would be Insert.
        int number = key switch { "Enter" => 13, "Tab" => 9, " " => 32, [var one] when char.IsAsciiLetterOrDigit(one) => char.ToUpperInvariant(one), _ => 0 };
        foreach (string type in (string[])[text.Length > 0 ? "keyDown" : "rawKeyDown", "keyUp"])
        {
            await SendAsync("Input.dispatchKeyEvent", new JsonObject
            {
                ["type"] = type,
                ["key"] = key,
                ["code"] = code,
                ["text"] = type == "keyDown" ? text : "",
                ["modifiers"] = modifiers,
                ["windowsVirtualKeyCode"] = number,
            });
        }
    }

    /// <summary>Types a line and Enter.</summary>
    public async Task TypeAsync(string line)
    {
        foreach (char key in line)
        {
            await KeyAsync(key.ToString(), key.ToString());
        }

        await KeyAsync("Enter", "\r");
    }

    /// <summary>Presses Tab until an element has the focus, then Enter.</summary>
    public async Task TabAndEnterAsync(string selector)
    {
        string hasFocus = $"document.activeElement.matches('{selector}')";
        for (int i = 0; !await IsAsync(hasFocus); i++)
        {
            Assert.True(i < 60, $"Tab does not lead to {selector}");
            await KeyAsync("Tab", "");
        }

        await KeyAsync("Enter", "\r");
    }

    /// <param name="path">Null for none.</param>
    public async Task PictureAsync(string? path)
    {
        JsonNode? result = await SendAsync("Page.captureScreenshot");
        if (path is not null)
        {
            await File.WriteAllBytesAsync(path, Convert.FromBase64String(result!["data"]!.ToString()));
        }
    }

    public async ValueTask DisposeAsync()
    {
        _socket.Dispose();
        _process.Kill(entireProcessTree: true);
        await _process.WaitForExitAsync();
        _process.Dispose();
    }

    private async Task<bool> IsAsync(string condition) =>
        await RunAsync($"(() => {{ try {{ return {condition}; }} catch {{ return false; }} }})()") is { } value && (bool)value;

    private async Task<JsonNode> ReceiveAsync()
    {
        using var limit = new CancellationTokenSource(TimeSpan.FromSeconds(60));
        var text = new MemoryStream();
        byte[] buffer = new byte[64 << 10];
        while (true)
        {
            ValueWebSocketReceiveResult got = await _socket.ReceiveAsync(buffer.AsMemory(), limit.Token);
            text.Write(buffer, 0, got.Count);
            if (got.EndOfMessage)
            {
                return JsonNode.Parse(text.ToArray())!;
            }
        }
    }
}

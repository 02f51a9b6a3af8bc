using System.Net;
using System.Net.Sockets;
using System.Net.WebSockets;
using System.Text;
using System.Text.Json;
using Microsoft.AspNetCore.Builder;
using Vmm.Daemon.Hosting;

namespace Vmm.Daemon.Tests.StandIns;

/// <summary>A vmmd in this process, and a client of it.</summary>
internal sealed class TestDaemon : IAsyncDisposable
{
    private readonly WebApplication _app;
    private readonly OwnedSocket? _socket;
    private readonly string _path;

    private TestDaemon(WebApplication app, OwnedSocket? socket, string path)
    {
        (_app, _socket, _path) = (app, socket, path);
        Client = ClientOf(path);
    }

    public HttpClient Client { get; }

    public IServiceProvider Services => _app.Services;

    public static async Task<TestDaemon> StartAsync(TestHomes homes, params string[] settings)
    {
        WebApplication app = DaemonHost.Build(homes.Arguments(settings));
        try
        {
            return new TestDaemon(app, await DaemonHost.StartAsync(app), homes.Socket);
        }
        catch
        {
            await app.DisposeAsync();
            throw;
        }
    }

    public static HttpClient ClientOf(string path) => new(HandlerOf(path))
    {
        BaseAddress = new Uri("http://vmmd"),
        Timeout = TimeSpan.FromSeconds(30),
    };

    /// <summary>Connects to a Unix socket, whatever the address is.</summary>
    public static SocketsHttpHandler HandlerOf(string path) => new()
    {
        ConnectCallback = async (_, cancellation) => new NetworkStream(await ConnectAsync(path, cancellation), ownsSocket: true),
    };

    public static async Task<Socket> ConnectAsync(string path, CancellationToken cancellation = default)
    {
        var socket = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
        await socket.ConnectAsync(new UnixDomainSocketEndPoint(path), cancellation);
        return socket;
    }

    public async Task<ClientWebSocket> OpenAsync(string path)
    {
        var socket = new ClientWebSocket();
        using var invoker = new HttpMessageInvoker(new SocketsHttpHandler
        {
            ConnectCallback = async (_, cancellation) => new NetworkStream(await ConnectAsync(_path, cancellation), ownsSocket: true),
        });
        await socket.ConnectAsync(new Uri($"ws://vmmd{path}"), invoker, CancellationToken.None);
        return socket;
    }

    public async Task<JsonElement> GetAsync(string path)
    {
        using HttpResponseMessage response = await Client.GetAsync(path);
        Assert.Equal(HttpStatusCode.OK, response.StatusCode);
        return await BodyAsync(response);
    }

    public async Task<(HttpStatusCode Status, JsonElement Body)> SendAsync(HttpMethod method, string path, string? body = null)
    {
        using var request = new HttpRequestMessage(method, path);
        if (body is not null)
        {
            request.Content = new StringContent(body, Encoding.UTF8, "application/json");
        }

        using HttpResponseMessage response = await Client.SendAsync(request);
        if ((int)response.StatusCode >= 400)
        {
            Assert.Equal("application/problem+json", response.Content.Headers.ContentType?.MediaType);
        }

        return (response.StatusCode, response.StatusCode == HttpStatusCode.NoContent ? default : await BodyAsync(response));
    }

    public async ValueTask DisposeAsync()
    {
        Client.Dispose();
        await _app.StopAsync();
        await _app.DisposeAsync();
        _socket?.Dispose();
    }

    private static async Task<JsonElement> BodyAsync(HttpResponseMessage response)
    {
        string text = await response.Content.ReadAsStringAsync();
        using JsonDocument document = JsonDocument.Parse(text);
        return document.RootElement.Clone();
    }
}

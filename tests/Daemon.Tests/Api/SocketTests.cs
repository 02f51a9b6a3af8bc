using System.Net;
using System.Net.WebSockets;
using System.Text;
using Vmm.Daemon.Tests.StandIns;

namespace Vmm.Daemon.Tests.Api;

public sealed class SocketTests
{
    [Fact]
    public async Task A_command_gets_its_input_and_gives_its_output_and_exit_code()
    {
        using var homes = new TestHomes();
        await using StandInMachine db = homes.Start("db");
        await using TestDaemon daemon = await TestDaemon.StartAsync(homes);
        using ClientWebSocket socket = await daemon.OpenAsync("/v1/machines/db/exec?command=cat&tty=true&rows=24&columns=80");

        // More than the guest has room for at a time, in both directions.
        byte[] sent = new byte[300_000];
        new Random(1).NextBytes(sent);
        Task sending = SendAsync(socket, sent);
        var got = new MemoryStream();
        while (got.Length < sent.Length)
        {
            (WebSocketMessageType type, byte[] message) = await ReceiveAsync(socket);
            Assert.Equal((WebSocketMessageType.Binary, (byte)1), (type, message[0]));
            got.Write(message.AsSpan(1));
        }

        await sending;
        Assert.Equal(sent, got.ToArray());
        await TextAsync(socket, """{"type":"resize","rows":50,"columns":132}""");
        Assert.Equal("\u000150x132", Encoding.ASCII.GetString((await ReceiveAsync(socket)).Message));
        await TextAsync(socket, """{"type":"end"}""");
        Assert.Equal("\u0002bye", Encoding.ASCII.GetString((await ReceiveAsync(socket)).Message));
        Assert.Equal("""{"how":"exit","value":7,"type":"exited"}""", Encoding.ASCII.GetString((await ReceiveAsync(socket)).Message));
        Assert.Equal(WebSocketMessageType.Close, (await ReceiveAsync(socket)).Type);
    }

    [Fact]
    public async Task A_console_is_typed_at_until_its_machine_ends()
    {
        using var homes = new TestHomes();
        await using StandInMachine db = homes.Start("db");
        await using TestDaemon daemon = await TestDaemon.StartAsync(homes);
        using ClientWebSocket socket = await daemon.OpenAsync("/v1/machines/db/console?replay=true");
        await SendAsync(socket, "ls\n"u8.ToArray());
        Assert.Equal("ls\n", Encoding.ASCII.GetString((await ReceiveAsync(socket)).Message));
        await db.EndAsync();
        Assert.Equal(WebSocketMessageType.Close, (await ReceiveAsync(socket)).Type);
        Assert.Equal("the machine has ended", socket.CloseStatusDescription);
    }

    [Fact]
    public async Task Orders_that_there_are_not_end_the_stream_and_a_client_that_goes_ends_its_process()
    {
        using var homes = new TestHomes();
        await using StandInMachine db = homes.Start("db");
        await using TestDaemon daemon = await TestDaemon.StartAsync(homes);
        using (ClientWebSocket socket = await daemon.OpenAsync("/v1/machines/db/exec?command=cat"))
        {
            await TextAsync(socket, """{"type":"dance"}""");
            Assert.Equal(WebSocketMessageType.Close, (await ReceiveAsync(socket)).Type);
            Assert.Equal(WebSocketCloseStatus.InvalidPayloadData, socket.CloseStatus);
        }

        using (ClientWebSocket socket = await daemon.OpenAsync("/v1/machines/db/exec?command=cat"))
        {
            socket.Abort();
        }

        await Eventually.HoldsAsync(() => Task.FromResult(db.Connections == 1), "only vmmd's own connection is left");
    }

    [Theory]
    [InlineData("/v1/machines/db/exec?command=ls", 426)]
    [InlineData("/v1/machines/db/console", 426)]
    [InlineData("/v1/machines/db/exec", 422)]
    [InlineData("/v1/machines/db/exec?command=ls&rows=-1", 400)]
    [InlineData("/v1/machines/nobody/console", 404)]
    public async Task What_is_no_WebSocket_is_told_so(string path, int status)
    {
        using var homes = new TestHomes();
        await using StandInMachine db = homes.Start("db");
        await using TestDaemon daemon = await TestDaemon.StartAsync(homes);
        Assert.Equal((HttpStatusCode)status, (await daemon.SendAsync(HttpMethod.Get, path)).Status);
    }

    private static Task SendAsync(ClientWebSocket socket, byte[] data) =>
        socket.SendAsync(data, WebSocketMessageType.Binary, true, CancellationToken.None);

    private static Task TextAsync(ClientWebSocket socket, string text) =>
        socket.SendAsync(Encoding.UTF8.GetBytes(text), WebSocketMessageType.Text, true, CancellationToken.None);

    private static async Task<(WebSocketMessageType Type, byte[] Message)> ReceiveAsync(ClientWebSocket socket)
    {
        using var limit = new CancellationTokenSource(TimeSpan.FromSeconds(20));
        byte[] buffer = new byte[64 << 10];
        int count = 0;
        while (true)
        {
            ValueWebSocketReceiveResult got = await socket.ReceiveAsync(buffer.AsMemory(count), limit.Token);
            count += got.Count;
            if (got.EndOfMessage)
            {
                return (got.MessageType, buffer[..count]);
            }
        }
    }
}

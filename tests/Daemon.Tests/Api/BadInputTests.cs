using System.Net;
using System.Net.Sockets;
using System.Text;
using System.Text.Json;
using Vmm.Daemon.Tests.StandIns;

namespace Vmm.Daemon.Tests.Api;

public sealed class BadInputTests
{
    [Theory]
    [InlineData("""{"name":"a","kernel":"host","frobnicate":1}""", 400, "frobnicate: there is no such field")]
    [InlineData("""{"kernel":"host"}""", 400, "a field that is required is missing")]
    [InlineData("""{"name":null,"kernel":"host"}""", 400, "not of the kind")]
    [InlineData("""{"name":"a","kernel":"host","cpus":"many"}""", 400, "cpus: not of the kind")]
    [InlineData("""{"name":"a","kernel":"host","cpus":1e300}""", 400, "cpus: not of the kind")]
    [InlineData("""{"name":"a","kernel":"host","disks":[{"path":"/x","iops":3}]}""", 400, "iops: there is no such field")]
    [InlineData("""{"name":"a","kernel":"host","disks":[null]}""", 422, "disks[0] is null")]
    [InlineData("""{"name":"a","root":"none","command":[null]}""", 422, "command is null")]
    [InlineData("""{"name":"a","kernel":"host","networks":[{"mode":"user","publish":[null]}]}""", 422, "networks[0].publish is empty")]
    [InlineData("""{"name":"a","kernel":"ho""", 400, "not JSON")]
    [InlineData("[[[[[[[[[[[[[[[[[[[[[[[[", 400, "")]
    [InlineData("null", 400, "")]
    [InlineData("", 400, "")]
    [InlineData("""{"name":"../../etc","kernel":"host"}""", 422, "name takes 1 to 63")]
    [InlineData("""{"name":"a","kernel":"host","cpus":0}""", 422, "cpus takes 1 to 1024")]
    [InlineData("""{"name":"a","kernel":"host","memory":"-1"}""", 422, "memory is no size")]
    [InlineData("""{"name":"a"}""", 422, "kernel is missing")]
    [InlineData("""{"name":"a","kernel":"host","user":"bob"}""", 422, "command is missing")]
    [InlineData("""{"name":"a","kernel":"host","disks":[{"path":"disk.img"}]}""", 422, "disks[0].path disk.img: not an absolute path")]
    [InlineData("""{"name":"a","kernel":"host","disks":[{"path":"/disk,overlay=/etc/passwd"}]}""", 422, "disks[0].path is empty, or has")]
    [InlineData("""{"name":"a","kernel":"host","networks":[{"mode":"user","publish":["80:80,mac=1"]}]}""", 422, "networks[0].publish")]
    [InlineData("""{"name":"a","kernel":"host","networks":[{"mode":"socket=/x"}]}""", 422, "networks[0].mode is user")]
    [InlineData("""{"name":"a","kernel":"ho\u0000st"}""", 422, "kernel is longer than 4096 characters, or has a NUL")]
    public async Task A_body_that_cannot_be_is_answered_by_a_problem(string body, int status, string detail)
    {
        using var homes = new TestHomes();
        await using TestDaemon daemon = await TestDaemon.StartAsync(homes, "--program", "/bin/false");
        (HttpStatusCode answered, JsonElement problem) = await daemon.SendAsync(HttpMethod.Post, "/v1/machines", body);
        Assert.Equal(status, (int)answered);
        Assert.Contains(detail, problem.GetProperty("detail").GetString(), StringComparison.Ordinal);
    }

    [Fact]
    public async Task What_is_not_there_or_not_allowed_is_a_problem_too()
    {
        using var homes = new TestHomes();
        await using TestDaemon daemon = await TestDaemon.StartAsync(homes);
        Assert.Equal(HttpStatusCode.NotFound, (await daemon.SendAsync(HttpMethod.Get, "/v2/nothing")).Status);
        Assert.Equal(HttpStatusCode.MethodNotAllowed, (await daemon.SendAsync(HttpMethod.Put, "/v1/machines")).Status);
        Assert.Equal(HttpStatusCode.NotFound, (await daemon.SendAsync(HttpMethod.Get, $"/v1/machines/{new string('a', 5000)}")).Status);
        Assert.Equal(HttpStatusCode.NotFound, (await daemon.SendAsync(HttpMethod.Get, "/v1/machines/..%2f..%2fetc")).Status);
        Assert.Equal(HttpStatusCode.BadRequest, (await daemon.SendAsync(HttpMethod.Post, "/v1/machines/a/stop?timeout=soon")).Status);
    }

    [Theory]
    [InlineData("vmmd", "https://elsewhere.example", HttpStatusCode.Forbidden)]
    [InlineData("vmmd", "null", HttpStatusCode.Forbidden)]
    [InlineData("elsewhere.example:8080", null, HttpStatusCode.Forbidden)]
    [InlineData("localhost:8080", "http://localhost:8080", HttpStatusCode.OK)]
    [InlineData("127.0.0.1:8080", "http://127.0.0.1:8080", HttpStatusCode.OK)]
    public async Task Pages_of_other_sites_may_not_use_it(string host, string? origin, HttpStatusCode status)
    {
        using var homes = new TestHomes();
        await using TestDaemon daemon = await TestDaemon.StartAsync(homes);
        using var request = new HttpRequestMessage(HttpMethod.Get, "/v1/machines");
        request.Headers.Host = host;
        if (origin is not null)
        {
            request.Headers.Add("Origin", origin);
        }

        using HttpResponseMessage response = await daemon.Client.SendAsync(request);
        Assert.Equal(status, response.StatusCode);
    }

    [Fact]
    public async Task A_body_of_100_MiB_is_refused_before_it_is_read()
    {
        using var homes = new TestHomes();
        await using TestDaemon daemon = await TestDaemon.StartAsync(homes);
        string answer = await RawAsync(homes, $"POST /v1/machines HTTP/1.1\r\nHost: vmmd\r\nContent-Type: application/json\r\nContent-Length: {100 << 20}\r\n\r\n{{");
        Assert.StartsWith("HTTP/1.1 413", answer, StringComparison.Ordinal);
        Assert.Contains("application/problem+json", answer, StringComparison.Ordinal);
    }

    /// <summary>In pieces, whose whole length nobody says beforehand.</summary>
    [Fact]
    public async Task A_body_without_an_end_is_refused_where_it_is_too_long()
    {
        using var homes = new TestHomes();
        await using TestDaemon daemon = await TestDaemon.StartAsync(homes);
        using Socket socket = await TestDaemon.ConnectAsync(homes.Socket);
        Task<string> answer = ReadAsync(socket);
        byte[] piece = [.. "10000\r\n"u8, .. Enumerable.Repeat((byte)' ', 0x10000), .. "\r\n"u8];
        try
        {
            await socket.SendAsync("POST /v1/machines HTTP/1.1\r\nHost: vmmd\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"u8.ToArray());
            for (int i = 0; i < 1600 && !answer.IsCompleted; i++)
            {
                await socket.SendAsync(piece);
            }
        }
        catch (SocketException)
        {
            // It is closed.
        }

        Assert.StartsWith("HTTP/1.1 413", await answer.WaitAsync(TimeSpan.FromMinutes(1)), StringComparison.Ordinal);
        Assert.Equal(0, (await daemon.GetAsync("/v1/machines")).GetProperty("machines").GetArrayLength());
    }

    [Fact]
    public async Task A_body_that_is_cut_costs_nothing_but_its_connection()
    {
        using var homes = new TestHomes();
        await using TestDaemon daemon = await TestDaemon.StartAsync(homes);
        using (Socket socket = await TestDaemon.ConnectAsync(homes.Socket))
        {
            await socket.SendAsync(Encoding.ASCII.GetBytes(
                "POST /v1/machines HTTP/1.1\r\nHost: vmmd\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n{\"name\":"));
        }

        Assert.Equal(0, (await daemon.GetAsync("/v1/machines")).GetProperty("machines").GetArrayLength());
    }

    [Fact]
    public async Task A_body_at_one_byte_a_second_is_ended()
    {
        using var homes = new TestHomes();
        await using TestDaemon daemon = await TestDaemon.StartAsync(homes);
        using Socket socket = await TestDaemon.ConnectAsync(homes.Socket);
        await socket.SendAsync(Encoding.ASCII.GetBytes(
            "POST /v1/machines HTTP/1.1\r\nHost: vmmd\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n"));
        Task<string> answer = ReadAsync(socket);
        for (int i = 0; i < 30 && !answer.IsCompleted; i++)
        {
            try
            {
                await socket.SendAsync(" "u8.ToArray());
            }
            catch (SocketException)
            {
                break;      // it is closed
            }

            await Task.WhenAny(answer, Task.Delay(TimeSpan.FromSeconds(1)));
        }

        Assert.Contains("408", await answer.WaitAsync(TimeSpan.FromSeconds(1)), StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_thousand_connections_are_bounded_and_those_that_are_there_are_served()
    {
        using var homes = new TestHomes();
        await using TestDaemon daemon = await TestDaemon.StartAsync(homes, "--Vmmd:MostConnections", "64", "--Vmmd:MostConnectionsPerUser", "48");
        _ = await daemon.GetAsync("/v1/machines");
        var sockets = new List<Socket>();
        try
        {
            for (int i = 0; i < 1000; i++)
            {
                try
                {
                    sockets.Add(await TestDaemon.ConnectAsync(homes.Socket));
                }
                catch (SocketException error) when (error.SocketErrorCode is SocketError.WouldBlock or SocketError.TryAgain)
                {
                    // The kernel's queue is full: bounded, too.
                }
            }

            // The client's own connection is among the first.
            _ = await daemon.GetAsync("/v1/machines");
            await Eventually.HoldsAsync(
                () => Task.FromResult(sockets.Count(static each => each.Poll(0, SelectMode.SelectRead) && each.Available == 0) >= sockets.Count - 48),
                "those above the limit are closed");
        }
        finally
        {
            sockets.ForEach(static each => each.Dispose());
        }

        await Eventually.HoldsAsync(
            async () =>
            {
                using HttpClient other = TestDaemon.ClientOf(homes.Socket);
                try
                {
                    using HttpResponseMessage response = await other.GetAsync("/v1/machines");
                    return response.IsSuccessStatusCode;
                }
                catch (HttpRequestException)
                {
                    return false;
                }
            },
            "there is room again");
    }

    private static async Task<string> RawAsync(TestHomes homes, string request)
    {
        using Socket socket = await TestDaemon.ConnectAsync(homes.Socket);
        await socket.SendAsync(Encoding.ASCII.GetBytes(request));
        return await ReadAsync(socket);
    }

    private static async Task<string> ReadAsync(Socket socket)
    {
        var text = new StringBuilder();
        byte[] buffer = new byte[4096];
        try
        {
            for (int read; (read = await socket.ReceiveAsync(buffer)) > 0;)
            {
                text.Append(Encoding.UTF8.GetString(buffer, 0, read));
            }
        }
        catch (SocketException)
        {
        }

        return text.ToString();
    }
}

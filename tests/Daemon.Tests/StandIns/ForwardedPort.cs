using System.Net;
using System.Net.Sockets;

namespace Vmm.Daemon.Tests.StandIns;

/// <summary>A port of the loopback that leads to a Unix socket, as ssh -L makes one.</summary>
internal sealed class ForwardedPort : IDisposable
{
    private readonly TcpListener _listener = new(IPAddress.Loopback, 0);

    public ForwardedPort(string socket)
    {
        _listener.Start();
        _ = ForwardAsync(socket);
    }

    public int Number => ((IPEndPoint)_listener.LocalEndpoint).Port;

    public void Dispose() => _listener.Dispose();

    private async Task ForwardAsync(string socket)
    {
        try
        {
            while (true)
            {
                TcpClient client = await _listener.AcceptTcpClientAsync();
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

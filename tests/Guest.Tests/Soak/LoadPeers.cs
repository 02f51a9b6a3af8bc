using System.Net;
using System.Net.Sockets;
using System.Text;

namespace Vmm.Guest.Tests.Soak;

/// <summary>The host's ends of a guest's three streams (load.c). They outlive its machines.</summary>
internal sealed class LoadPeers : IDisposable
{
    private const int MessageBytes = 1024;
    private const uint StreamPort = 5000;

    private readonly TcpListener _tcp = new(IPAddress.Loopback, 0);
    private readonly Socket _udp = new(AddressFamily.InterNetwork, SocketType.Dgram, ProtocolType.Udp);
    private readonly Socket _vsock = new(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
    private readonly Sequence _ofTcp = new("TCP"), _ofUdp = new("UDP"), _ofVsock = new("vsock");
    private readonly Lock _lock = new();
    private readonly List<Exception> _failures = [];

    private volatile bool _isOver;

    /// <param name="vsock">What the machine's <c>--vsock</c> is given.</param>
    public LoadPeers(string vsock)
    {
        _tcp.Start();
        _udp.Bind(new IPEndPoint(IPAddress.Loopback, 0));
        _vsock.Bind(new UnixDomainSocketEndPoint($"{vsock}_{StreamPort}"));
        _vsock.Listen();
        Run(() => Serve(_tcp.Server, _ofTcp));
        Run(() => Serve(_vsock, _ofVsock));
        Run(ServeDatagrams);
    }

    public int TcpPort => ((IPEndPoint)_tcp.LocalEndpoint).Port;

    public int UdpPort => ((IPEndPoint)_udp.LocalEndPoint!).Port;

    /// <summary>How far each has come.</summary>
    public ulong[] Now => [.. All.Select(static each => each.Last)];

    private Sequence[] All => [_ofTcp, _ofUdp, _ofVsock];

    /// <summary>A machine is restored that was saved between the two.</summary>
    public void GoBack(ulong[] least, ulong[] most)
    {
        for (int i = 0; i < All.Length; i++)
        {
            All[i].GoBack(least[i], most[i]);
        }
    }

    /// <summary>Once all loads have gone on.</summary>
    public void AssertRight()
    {
        Array.ForEach(All, static each => each.IsBack());
        Assert.All(All, static each => Assert.Null(each.Wrong));
        lock (_lock)
        {
            Assert.Empty(_failures);
        }
    }

    public void Dispose()
    {
        _isOver = true;
        _tcp.Dispose();
        _udp.Dispose();
        _vsock.Dispose();
    }

    private void Run(Action serve) => new Thread(() =>
    {
        try
        {
            serve();
        }
        catch (Exception) when (_isOver)
        {
            // its socket is closed
        }
        catch (Exception error)
        {
            lock (_lock)
            {
                _failures.Add(error);
            }
        }
    })
    { IsBackground = true }.Start();

    /// <summary>One connection at a time: the guest has no two.</summary>
    private static void Serve(Socket listener, Sequence numbers)
    {
        byte[] message = new byte[MessageBytes];
        while (true)
        {
            using Socket guest = listener.Accept();
            try
            {
                while (Receive(guest, message))
                {
                    numbers.Answer(message);
                    guest.Send(message);
                }
            }
            catch (SocketException)
            {
                // its machine was killed, or another goes on in its place
            }
        }
    }

    private void ServeDatagrams()
    {
        byte[] message = new byte[MessageBytes];
        EndPoint from = new IPEndPoint(IPAddress.Any, 0);
        while (true)
        {
            try
            {
                if (_udp.ReceiveFrom(message, ref from) == message.Length)
                {
                    _ofUdp.Answer(message);
                    _udp.SendTo(message, from);
                }
            }
            catch (SocketException error) when (error.SocketErrorCode == SocketError.ConnectionRefused)
            {
                // (ICMP) the passt that had asked is gone
            }
        }
    }

    private static bool Receive(Socket socket, byte[] message)
    {
        for (int got = 0, some; got < message.Length; got += some)
        {
            some = socket.Receive(message.AsSpan(got));
            if (some == 0)
            {
                return false;
            }
        }

        return true;
    }
}

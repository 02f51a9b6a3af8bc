using System.Net.Sockets;
using System.Text;
using System.Text.RegularExpressions;

namespace Vmm.Guest.Tests.Harness;

/// <summary>Something at a control socket that is no machine: it says the same to everybody who comes, and the same to each request.
/// </summary>
internal sealed partial class ForeignPeer : IDisposable
{
    private readonly Socket _listening = new(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
    private readonly List<Socket> _clients = [];
    private readonly string _said;
    private readonly string? _answer;

    /// <param name="said">To who comes.</param>
    /// <param name="answer">To each request, with ID for its number; null for nothing.</param>
    public ForeignPeer(string path, string said, string? answer)
    {
        (_said, _answer) = (said, answer);
        _listening.Bind(new UnixDomainSocketEndPoint(path));
        _listening.Listen();
        Start(Accept);
    }

    public void Dispose()
    {
        _listening.Dispose();
        lock (_clients)
        {
            _clients.ForEach(static each => each.Dispose());
        }
    }

    private static void Start(Action action) => new Thread(() =>
    {
        try
        {
            action();
        }
        catch (Exception error) when (error is SocketException or IOException or ObjectDisposedException)
        {
            // The other end has gone, or the test is over.
        }
    })
    { IsBackground = true }.Start();

    private void Accept()
    {
        while (true)
        {
            Socket client = _listening.Accept();
            lock (_clients)
            {
                _clients.Add(client);
            }

            Start(() => Serve(client));
        }
    }

    private void Serve(Socket client)
    {
        client.Send(Encoding.UTF8.GetBytes(_said));
        using var reader = new StreamReader(new NetworkStream(client));
        while (reader.ReadLine() is { } request)
        {
            if (_answer is not null && Number().Match(request) is { Success: true } id)
            {
                client.Send(Encoding.UTF8.GetBytes(_answer.Replace("ID", id.Groups[1].Value, StringComparison.Ordinal) + "\n"));
            }
        }
    }

    [GeneratedRegex("\"id\":([0-9]+)")]
    private static partial Regex Number();
}

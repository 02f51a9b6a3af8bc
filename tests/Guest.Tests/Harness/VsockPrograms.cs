using System.Net.Sockets;
using System.Text;

namespace Vmm.Guest.Tests.Harness;

/// <summary>The host's ends of a guest's sockets: one program that listens and sends back what it hears, and one that asks
/// for a port at which the guest does the same.</summary>
internal sealed class VsockPrograms : IDisposable
{
    private static readonly TimeSpan Patience = TimeSpan.FromMinutes(5);

    private readonly string _path;
    private readonly Socket _listener = new(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
    private readonly CancellationTokenSource _over = new(Patience);
    private readonly Task<long> _echo;
    private readonly Task<byte[]> _asked;

    /// <param name="path">What <c>--vsock</c> is given.</param>
    /// <param name="hostPort">Where the first listens.</param>
    /// <param name="guestPort">What the second asks for.</param>
    /// <param name="said">What it says to the guest.</param>
    public VsockPrograms(string path, uint hostPort, uint guestPort, byte[] said)
    {
        _path = path;
        _listener.Bind(new UnixDomainSocketEndPoint($"{path}_{hostPort}"));
        _listener.Listen();
        _echo = EchoAsync();
        _asked = AskAsync(guestPort, said);
    }

    /// <summary>Bytes that the first received and sent back.</summary>
    public Task<long> Echoed => _echo;

    /// <summary>What the second received from the guest.</summary>
    public Task<byte[]> Heard => _asked;

    public void Dispose()
    {
        _over.Cancel();
        _listener.Dispose();
        _over.Dispose();
    }

    private async Task<long> EchoAsync()
    {
        using Socket program = await _listener.AcceptAsync(_over.Token);
        byte[] all = await ReadToEndAsync(program);
        await program.SendAsync(all, _over.Token);
        return all.Length;
    }

    private async Task<byte[]> AskAsync(uint guestPort, byte[] said)
    {
        while (true)
        {
            using var program = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
            try
            {
                await program.ConnectAsync(new UnixDomainSocketEndPoint(_path), _over.Token);
                await program.SendAsync(Encoding.ASCII.GetBytes($"CONNECT {guestPort}\n"), _over.Token);
                if (await AnswerAsync(program) is { } answer)
                {
                    Assert.StartsWith("OK ", answer, StringComparison.Ordinal);
                    await program.SendAsync(said, _over.Token);
                    program.Shutdown(SocketShutdown.Send);
                    return await ReadToEndAsync(program);
                }
            }
            catch (SocketException)
            {
                // no vmm yet, or nobody who listens in the guest
            }

            await Task.Delay(TimeSpan.FromMilliseconds(300), _over.Token);
        }
    }

    /// <returns>Null where the connection ends instead.</returns>
    private async Task<string?> AnswerAsync(Socket program)
    {
        var line = new StringBuilder();
        byte[] next = new byte[1];
        while (await program.ReceiveAsync(next, _over.Token) == 1)
        {
            if (next[0] == '\n')
            {
                return line.ToString();
            }

            line.Append((char)next[0]);
        }

        return null;
    }

    private async Task<byte[]> ReadToEndAsync(Socket program)
    {
        using var all = new MemoryStream();
        byte[] some = new byte[65536];
        while (await program.ReceiveAsync(some, _over.Token) is > 0 and int got)
        {
            all.Write(some, 0, got);
        }

        return all.ToArray();
    }
}

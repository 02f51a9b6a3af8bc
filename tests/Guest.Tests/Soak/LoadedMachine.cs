using System.Globalization;
using System.Net.Sockets;
using System.Text;
using Vmm.Guest.Tests.Harness;

namespace Vmm.Guest.Tests.Soak;

/// <summary>How far a guest under load says that it has come (load.c).</summary>
/// <param name="Steps">Of its five loads: blocks, files, TCP, UDP, vsock.</param>
/// <param name="Reconnects">Connections that it made anew.</param>
/// <param name="Resends">Datagrams that it sent again.</param>
/// <param name="Generations">How often its kernel was told by VMGenID that it goes on from a saved state.</param>
/// <param name="Wrong">What was not as it has to be; empty for nothing.</param>
internal sealed record LoadStatus(ulong[] Steps, ulong Reconnects, ulong Resends, ulong Generations, string Wrong)
{
    public static LoadStatus Parse(string line)
    {
        string[] words = line.Split(' ', 10);
        ulong[] numbers = [.. words.Take(9).Select(static word => ulong.Parse(word, CultureInfo.InvariantCulture))];
        return new LoadStatus(numbers[..5], numbers[5], numbers[6], numbers[7], numbers[8] == 0 ? "" : words[9]);
    }
}

/// <summary>A vmm whose guest is under load.</summary>
/// <param name="address">Its name, or its control socket.</param>
/// <param name="vsock">What its <c>--vsock</c> was given.</param>
internal sealed class LoadedMachine(VmmProcess vmm, string address, string vsock) : IDisposable
{
    private const string StatusPort = "CONNECT 6000\n";

    private Socket? _connection;
    private bool _isDisposed;

    public VmmProcess Vmm => vmm;

    public string Address => address;

    public LoadStatus Ask(char letter = 's')
    {
        DateTime end = DateTime.UtcNow + Product.Patience;
        while (true)
        {
            try
            {
                _connection ??= Connect();
                _connection.Send([(byte)letter]);
                return LoadStatus.Parse(ReadLine(_connection));
            }
            catch (SocketException error) when (DateTime.UtcNow < end)
            {
                Close();
                Assert.True(vmm.IsRunning, $"{error.Message}; {vmm.Error.Text}");
                Thread.Sleep(5);
            }
        }
    }

    /// <summary>Waits until each of its loads has done so many steps more, and none has found anything wrong.</summary>
    public LoadStatus GoOn(ulong steps)
    {
        DateTime end = DateTime.UtcNow + Product.Patience;
        LoadStatus from = Ask(), now = from;
        while (now.Steps.Zip(from.Steps).Any(pair => pair.First < pair.Second + steps))
        {
            Assert.True(now.Wrong.Length == 0, now.Wrong);
            Assert.True(DateTime.UtcNow < end, $"it does not go on: {string.Join(' ', from.Steps)} became {string.Join(' ', now.Steps)}");
            Thread.Sleep(10);
            now = Ask();
        }

        Assert.True(now.Wrong.Length == 0, now.Wrong);
        return now;
    }

    /// <summary>The same, of one that went back, which its kernel is told.</summary>
    /// <param name="saved">What the machine said before it was saved.</param>
    public LoadStatus GoOnFrom(LoadStatus saved, ulong steps)
    {
        LoadStatus now = GoOn(steps);
        Assert.All(now.Steps.Zip(saved.Steps), static pair => Assert.True(pair.First > pair.Second));
        Assert.True(SpinWait.SpinUntil(() => (now = Ask()).Generations > saved.Generations, Product.Patience), "VMGenID was not seen");
        Assert.Equal(saved.Generations + 1, now.Generations);
        return now;
    }

    public void PowerOff()
    {
        _connection!.Send("o"u8);
        Assert.Equal(0, vmm.WaitForEnd().Code);
        Close();
    }

    public void Kill()
    {
        vmm.Signal(Signals.SIGKILL);
        vmm.WaitForEnd();
        Dispose();
    }

    public void Dispose()
    {
        Close();
        if (!_isDisposed)
        {
            _isDisposed = true;
            vmm.Dispose();
        }
    }

    private void Close()
    {
        _connection?.Dispose();
        _connection = null;
    }

    private Socket Connect()
    {
        var socket = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified) { ReceiveTimeout = 30_000 };
        try
        {
            socket.Connect(new UnixDomainSocketEndPoint(vsock));
            socket.Send(Encoding.ASCII.GetBytes(StatusPort));
            Assert.StartsWith("OK ", ReadLine(socket), StringComparison.Ordinal);
            return socket;
        }
        catch
        {
            socket.Dispose();
            throw;
        }
    }

    /// <exception cref="SocketException">It ended before the line did.</exception>
    private static string ReadLine(Socket socket)
    {
        var line = new StringBuilder();
        byte[] next = new byte[1];
        while (socket.Receive(next) == 1)
        {
            if (next[0] == '\n')
            {
                return line.ToString();
            }

            line.Append((char)next[0]);
        }

        throw new SocketException((int)SocketError.ConnectionReset);
    }
}

using Vmm.Backends.Networks;
using Vmm.Host;

namespace Vmm.Tests.Networks;

/// <summary>The real passt, where it is installed.</summary>
public sealed class PasstTests
{
    private static readonly byte[] Mac = [2, 0, 0, 0, 0, 1];

    [PasstFact]
    public void It_answers_frames_and_ends_with_its_socket()
    {
        using var loop = new EventLoop();
        var log = new SaidLog();
        var net = new PasstNet(loop, Passt.Start([]), log);
        net.WaitUntilReady();
        int passt = net.ProcessId!.Value;
        Assert.Contains("(passt", Stat(passt), StringComparison.Ordinal);
        using (var stand = new NetStand(loop, net, Mac))
        {
            stand.Offer(16);
            stand.Send(ArpRequest());
            stand.RunUntil(() => stand.Card.ReceivedFrames > 0);
            byte[] answer = stand.TakeFrame()!;
            Assert.Equal(Mac, answer[..6]);
            Assert.Equal([0x08, 0x06], answer[12..14]);
        }

        net.Dispose();
        Assert.Equal("", Stat(passt));
        Assert.DoesNotContain(log.Lines, line => line.Contains("end", StringComparison.Ordinal));
    }

    [PasstFact]
    public void Its_end_is_reported_once_and_takes_the_link_down()
    {
        using var loop = new EventLoop();
        var log = new SaidLog();
        using var net = new PasstNet(loop, Passt.Start([]), log);
        net.WaitUntilReady();
        log.Lines.Clear();
        using var stand = new NetStand(loop, net, Mac);
        stand.Offer(4);
        Assert.True(stand.LinkIsUp);
        _ = LibC.kill(net.ProcessId!.Value, LibC.SIGKILL);
        stand.RunUntil(() => !stand.LinkIsUp);
        stand.Settle();
        Assert.Equal("--net user: passt has ended; the card has no network any more", Assert.Single(log.Lines));
        Assert.True(stand.Send(NetStand.Frame(60)));
        Assert.Equal(1, stand.Card.SendDropped);
    }

    [PasstFact]
    public void Other_children_are_not_waited_for()
    {
        // As of `something & exec vmm`: passt's end must neither wait for it nor take its end away.
        using var other = System.Diagnostics.Process.Start("/bin/sleep", "60");
        using (var loop = new EventLoop())
        using (var net = new PasstNet(loop, Passt.Start([]), new SaidLog()))
        {
            net.WaitUntilReady();
        }

        Assert.False(other.HasExited);
        other.Kill();
        Assert.True(other.WaitForExit(TimeSpan.FromSeconds(30)));
    }

    [PasstFact]
    public void What_it_says_when_it_refuses_is_the_error()
    {
        using var loop = new EventLoop();

        // 203.0.113.0/24 is for documentation (RFC 5737): no host has it.
        using var net = new PasstNet(loop, Passt.Start([new PublishedPort("203.0.113.9", 18091, 80)]), new SaidLog());
        string message = Assert.Throws<HostException>(net.WaitUntilReady).Message;
        Assert.StartsWith("--net user: passt: ", message, StringComparison.Ordinal);
        Assert.Contains("18091", message, StringComparison.Ordinal);
        Assert.DoesNotContain('\n', message);
    }

    [Fact]
    public void A_port_in_use_and_a_foreign_address_are_refused_before_anything_starts()
    {
        using var taken = new System.Net.Sockets.TcpListener(System.Net.IPAddress.Loopback, 0);
        taken.Start();
        int port = ((System.Net.IPEndPoint)taken.LocalEndpoint).Port;
        Assert.Contains(
            $"TCP port {port} is in use", Refusal(new PublishedPort("127.0.0.1", port, 80)), StringComparison.Ordinal);
        Assert.Contains($"TCP port {port} is in use", Refusal(new PublishedPort(null, port, 80)), StringComparison.Ordinal);
        Assert.Contains("no address of this host", Refusal(new PublishedPort("203.0.113.9", 18091, 80)), StringComparison.Ordinal);
    }

    private static string Refusal(PublishedPort port) => Assert.Throws<UsageException>(() => HostPorts.Check([port])).Message;

    /// <summary>What the kernel says of a process; nothing if it is gone, and nothing of it is left.</summary>
    private static string Stat(int process)
    {
        try
        {
            return File.ReadAllText($"/proc/{process}/stat");
        }
        catch (IOException)
        {
            return "";
        }
    }

    /// <summary>Who has 10.0.2.2? (RFC 826.)</summary>
    private static byte[] ArpRequest() =>
    [
        0xff, 0xff, 0xff, 0xff, 0xff, 0xff, .. Mac, 0x08, 0x06, 0, 1, 8, 0, 6, 4, 0, 1,
        .. Mac, 10, 0, 2, 99, 0, 0, 0, 0, 0, 0, 10, 0, 2, 2,
    ];
}

/// <summary>Skipped, visibly, where passt is missing.</summary>
[AttributeUsage(AttributeTargets.Method)]
internal sealed class PasstFactAttribute : FactAttribute
{
    public PasstFactAttribute()
    {
        if (!File.Exists("/usr/bin/passt"))
        {
            Skip = "passt is not installed here";
        }
    }
}

using System.Diagnostics;
using System.Globalization;
using System.Net;
using System.Net.Sockets;
using System.Runtime.InteropServices;
using System.Text;
using Vmm.Machines;

namespace Vmm.Guest.Tests.Harness;

/// <summary>Two machines, one over PCI and one over mmio, that run at the same time with three cards each: passt, a tap,
/// and a socket between them. All of it in a network namespace that ends with the processes in it.</summary>
public sealed partial class NetworkGuests : IDisposable
{
    internal const string Hello = "hello from the host's loopback";
    internal const string Published = "hello from the guest";

    private const int ServerPort = 18000, GatePort = 18001;

    private readonly TemporaryFolder _folder = new();
    private readonly Lazy<Machine[]> _machines;

    public NetworkGuests() => _machines = new Lazy<Machine[]>(Run);

    internal Machine Pci => _machines.Value[0];

    internal Machine Mmio => _machines.Value[1];

    /// <summary>Whether the socket between the two machines was deleted.</summary>
    internal bool SocketIsGone => !File.Exists(_folder["lan"]);

    public void Dispose() => _folder.Dispose();

    /// <summary>How a machine ended, and what the host got from it.</summary>
    internal sealed record Machine(VmmProcess.Ended Ended, string FromPublishedPort, string UdpFromPublishedPort, string[] LeftBehind)
    {
        public string Value(string name) => GuestScript.Value(Ended.Output, name);
    }

    // eth0 is passt's, eth1 the tap, eth2 the socket. At the end each waits at the gate, a server of the test, until the
    // other is through too. nc's input stays open: of a connection that the guest has shut down for its part first, passt
    // (bookworm's) hands over nothing any more.
    private static string Script(int self) => string.Create(CultureInfo.InvariantCulture, $$"""
        udhcpc -i eth0 -n -q >/dev/null 2>&1
        ip addr add 10.{{77 + self}}.0.2/24 dev eth1; ip link set eth1 up
        ip addr add 10.80.0.{{1 + self}}/24 dev eth2; ip link set eth2 up
        gateway=$(ip route | awk '/^default/ { print $3 }')
        echo address=$(ip -4 addr show eth0 | awk '/inet / { print $2 }')
        echo dns=$(awk '/nameserver/ { print $2; exit }' /etc/resolv.conf)
        mkfifo /tmp/open; exec 3<>/tmp/open
        echo tcp=$(nc $gateway {{ServerPort}} <&3)
        echo udp=$(iperf3 -c $gateway -p {{18010 + self}} -u -b 1M -l 1000 -t 1 -f k | awk '/receiver/ { print $7 }')
        mkdir /tmp/www; echo {{Published}} >/tmp/www/hello; httpd -p 80 -h /tmp/www
        iperf3 -s -p 81 >/dev/null 2>&1 &
        echo published
        before=$(cat /sys/class/net/eth1/statistics/tx_packets)
        echo tap=$(iperf3 -c 10.{{77 + self}}.0.1 -t 2 -f k | awk '/receiver/ { print $7 }')
        echo back=$(iperf3 -c 10.{{77 + self}}.0.1 -p 5202 -R -t 2 -f k | awk '/receiver/ { print $7 }')
        echo packets=$(($(cat /sys/class/net/eth1/statistics/tx_packets) + $(cat /sys/class/net/eth1/statistics/rx_packets)))
        for i in $(seq 1 60); do ping -c 3 -W 1 10.80.0.{{2 - self}} >/tmp/ping 2>&1 && break; done
        echo ping=$(awk '/received/ { print $4 }' /tmp/ping)
        echo macs=$(cat /sys/class/net/eth*/address)
        nc $gateway {{GatePort}} <&3 >/dev/null
        exit 0

        """);

    private Machine[] Run()
    {
        Machine[]? machines = null;
        Exception? failure = null;

        // What a thread starts, and the sockets that it makes, belong to the namespace that it is in.
        var thread = new Thread(() =>
        {
            try
            {
                Assert.Equal(0, LibC.unshare(LibC.CLONE_NEWNET));
                machines = RunHere();
            }
            catch (Exception error)
            {
                failure = error;
            }
        });
        thread.Start();
        thread.Join();
        return machines ?? throw new InvalidOperationException(failure!.Message, failure);
    }

    private Machine[] RunHere()
    {
        // passt takes addresses and routes from the interface with the default route, as on any host with a network.
        Ip("link set lo up", "link add up0 type bridge", "addr add 198.51.100.2/24 dev up0", "link set up0 up",
            "route add default via 198.51.100.1");
        var servers = new List<Process>();
        using TcpListener hello = Listen(ServerPort), gate = Listen(GatePort);
        try
        {
            for (int i = 0; i < 2; i++)
            {
                Ip($"tuntap add tap{i} mode tap", $"addr add 10.{77 + i}.0.1/24 dev tap{i}", $"link set tap{i} up");
                servers.Add(Iperf("-s", "-1", "-B", $"10.{77 + i}.0.1"));
                servers.Add(Iperf("-s", "-1", "-B", $"10.{77 + i}.0.1", "-p", "5202"));
                servers.Add(Iperf("-s", "-1", "-B", "127.0.0.1", "-p", $"{18010 + i}"));
            }

            Serve(hello, client => client.Send(Encoding.ASCII.GetBytes(Hello + "\n")));
            var both = new Barrier(2);
            Serve(gate, _ => both.SignalAndWait(Product.Patience));
            using VmmProcess pci = Start(0, "pci"), mmio = Start(1, "mmio");
            VmmProcess[] processes = [pci, mmio];
            string[] published = new string[2], udp = new string[2];
            for (int i = 0; i < 2; i++)
            {
                processes[i].Output.WaitFor("published");
                published[i] = FromPublishedPort(18080 + i);
                udp[i] = UdpToPublishedPort(18090 + i);
            }

            return [.. processes.Select((process, i) =>
            {
                int[] children = Children(process.Id);
                VmmProcess.Ended ended = process.WaitForEnd();
                return new Machine(
                    ended, published[i], udp[i],
                    [.. children.Where(id => Directory.Exists($"/proc/{id}")).Select(id => File.ReadAllText($"/proc/{id}/comm"))]);
            })];
        }
        finally
        {
            foreach (Process server in servers)
            {
                Signals.EndForCertain(server);
            }
        }
    }

    private VmmProcess Start(int self, string transport)
    {
        string script = _folder.Write($"script{self}.img", GuestScript.Disk(Script(self), 64 << 10));
        VmmProcess process = VmmProcess.Start(
            "--kernel", Product.Vmlinux, "--transport", transport, "--name", $"machine{self}", "--stats",
            "--disk", Product.Rootfs + ",ephemeral", "--disk", script + ",readonly",
            "--net", $"user,publish=127.0.0.1:{18080 + self}:80,publish={18090 + self}:81", "--net", $"tap=tap{self}",
            "--net", $"socket={_folder["lan"]}", "--cmdline", "quiet vmm.run=/dev/vdb");
        process.CloseInput();
        return process;
    }

    private static TcpListener Listen(int port)
    {
        var listener = new TcpListener(IPAddress.Loopback, port);
        listener.Start();
        return listener;
    }

    private static void Serve(TcpListener listener, Action<Socket> answer) => new Thread(() =>
    {
        try
        {
            while (true)
            {
                Socket client = listener.AcceptSocket();
                new Thread(() =>
                {
                    using (client)
                    {
                        answer(client);
                    }
                })
                { IsBackground = true }.Start();
            }
        }
        catch (SocketException)
        {
            // the listener was closed: the test is over
        }
    })
    { IsBackground = true }.Start();

    /// <summary>Asks the guest's web server until it has come up; until then passt closes the connection.</summary>
    private static string FromPublishedPort(int port)
    {
        byte[] request = Encoding.ASCII.GetBytes("GET /hello HTTP/1.0\r\n\r\n"), buffer = new byte[1000];
        DateTime end = DateTime.UtcNow + TimeSpan.FromMinutes(1);
        while (DateTime.UtcNow < end)
        {
            // Made on this thread, or it would be of another namespace: so no HttpClient.
            using var socket = new Socket(AddressFamily.InterNetwork, SocketType.Stream, ProtocolType.Tcp) { ReceiveTimeout = 10_000 };
            try
            {
                socket.Connect(IPAddress.Loopback, port);
                socket.Send(request);
                int length = 0;
                for (int count; (count = socket.Receive(buffer, length, buffer.Length - length, SocketFlags.None)) > 0; length += count)
                {
                }

                string answer = Encoding.ASCII.GetString(buffer, 0, length);
                if (answer.StartsWith("HTTP/1", StringComparison.Ordinal))
                {
                    return answer[(answer.IndexOf("\r\n\r\n", StringComparison.Ordinal) + 4)..].Trim();
                }
            }
            catch (SocketException)
            {
                // not there yet
            }

            Thread.Sleep(100);          // nothing tells when a server inside the guest listens
        }

        return "nothing";
    }

    /// <summary>What iperf3 says of a second of datagrams, once its server in the guest has come up.</summary>
    private static string UdpToPublishedPort(int port)
    {
        DateTime end = DateTime.UtcNow + TimeSpan.FromMinutes(1);
        while (true)
        {
            using Process client = Iperf("-c", "127.0.0.1", "-p", $"{port}", "-u", "-b", "1M", "-l", "1000", "-t", "1", "-f", "k");
            string said = client.StandardOutput.ReadToEnd();
            if (said.Contains("receiver", StringComparison.Ordinal) || DateTime.UtcNow > end)
            {
                return said + client.StandardError.ReadToEnd();
            }

            Thread.Sleep(200);
        }
    }

    private static int[] Children(int parent) =>
    [
        .. from directory in Directory.GetDirectories("/proc")
           let name = Path.GetFileName(directory)
           where name.All(char.IsAsciiDigit) && File.Exists(directory + "/stat")
           let stat = File.ReadAllText(directory + "/stat")
           where stat[(stat.LastIndexOf(')') + 2)..].Split(' ')[1] == $"{parent}"
           select int.Parse(name, CultureInfo.InvariantCulture),
    ];

    private static Process Iperf(params string[] arguments) =>
        Process.Start(new ProcessStartInfo("iperf3", arguments) { RedirectStandardOutput = true, RedirectStandardError = true })!;

    private static void Ip(params string[] commands)
    {
        foreach (string command in commands)
        {
            (int code, string said) = HostTool.Run("ip", command.Split(' '));
            Assert.True(code == 0, $"ip {command}: {said}");
        }
    }
}

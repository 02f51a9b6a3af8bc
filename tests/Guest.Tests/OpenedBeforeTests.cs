using System.Net.Sockets;
using System.Text.RegularExpressions;
using Vmm.Guest.Tests.Harness;
using Vmm.Tests.Kvm;
using Vmm.Tests.Shared;
using Xunit.Abstractions;

namespace Vmm.Guest.Tests;

/// <summary>From the first KVM_RUN to the end vmm opens nothing: HostResources lists what may, and why.</summary>
public sealed partial class OpenedBeforeTests(ITestOutputHelper output)
{
    private const int Disk = 0, Card = 1, Entropy = 2, Sockets = 3;
    private const uint Port = 1000;

    // Those that make a descriptor, a thread or a process; futex, read and so on are what a machine does.
    private const string Openers = "open,openat,openat2,creat,socket,socketpair,connect,bind,listen,accept,accept4,memfd_create,"
        + "io_uring_setup,eventfd,eventfd2,timerfd_create,epoll_create,epoll_create1,pipe,pipe2,signalfd4,inotify_init1,"
        + "clone,clone3,fork,vfork,execve,execveat";

    /// <summary>A guest that writes to its disk, reads and flushes it, sends a frame, connects to a program of the host's by
    /// vsock, draws entropy and talks on the console; on two vCPUs.</summary>
    [KvmFact]
    public void Nothing_is_opened_while_the_guest_runs_but_a_connection_that_it_asks_for()
    {
        using var folder = new TemporaryFolder();
        string disk = folder.WriteSparse("disk.img", 1 << 20), trace = folder["trace"];
        using var program = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
        program.Bind(new UnixDomainSocketEndPoint($"{folder["sockets"]}_{Port}"));
        program.Listen();
        using TestGuest guest = new(static code =>
        {
            byte[] data = new byte[512];
            data.AsSpan().Fill(0x5a);
            AssembledVirtio.Start(code, Disk, queues: 1);
            AssembledVirtio.Request(code, Disk, 0, 0, [AssembledVirtio.DiskHead(AssembledVirtio.Out, 1), data], 1);
            AssembledVirtio.Request(code, Disk, 0, 1, [AssembledVirtio.DiskHead(AssembledVirtio.In, 1)], 512, 1);
            AssembledVirtio.Start(code, Card, queues: 2);
            AssembledVirtio.Request(code, Card, 1, 0, [new byte[12 + 60]]);
            AssembledVirtio.Start(code, Entropy, queues: 1);
            AssembledVirtio.Request(code, Entropy, 0, 0, [], 16);
            AssembledVirtio.Start(code, Sockets, queues: 3);
            AssembledVirtio.Request(code, Sockets, 1, 0, [AssembledVirtio.VsockHead(3, 1024, Port, operation: 1)]);
            SmallGuests.Say(code, SmallGuests.Ready);
            SmallGuests.Exit(code, 7);
        });

        (int code, string said) = HostTool.Run(
            "timeout", "--kill-after=10", "120", "strace", "-f", "-qq", "-o", trace, "-e", $"trace={Openers},ioctl", "--", Product.Vmm,
            "--kernel", guest.Path, "--mem", "64M", "--cpus", "2", "--transport", "mmio", "--rng",
            "--disk", disk, "--net", "user", "--vsock", folder["sockets"]);
        Assert.True(code == 7, $"{code}: {said}");
        Assert.Contains(SmallGuests.Ready, said, StringComparison.Ordinal);
        Assert.Equal(0x5a, File.ReadAllBytes(disk)[512]);

        // Lines begin with the thread's number; those of helpers are their own business.
        string[] lines = File.ReadAllLines(trace);
        string first = lines.First(static line => line.Contains("KVM_RUN", StringComparison.Ordinal));
        HashSet<string> helpers = [.. lines.Where(static line => line.Contains("execve(\"", StringComparison.Ordinal) && line.Contains("passt", StringComparison.Ordinal)).Select(Thread)];
        string[] late =
        [
            .. lines.SkipWhile(line => line != first)
                .Where(line => !helpers.Contains(Thread(line)) && Opener().IsMatch(line)),
        ];
        output.WriteLine($"{lines.Count(static line => Opener().IsMatch(line))} calls that open something before the first KVM_RUN");
        Assert.True(
            late.Length == 2 && late[0].Contains("socket(AF_UNIX", StringComparison.Ordinal)
                && late[1].Contains("connect(", StringComparison.Ordinal) && late[1].Contains($"sockets_{Port}", StringComparison.Ordinal),
            string.Join('\n', late));
    }

    private static string Thread(string line) => line.Split(' ', 2)[0];

    [GeneratedRegex(@"^\d+ +(?!ioctl)[a-z0-9_]+\(")]
    private static partial Regex Opener();
}

using System.Net.Sockets;
using System.Runtime.InteropServices;
using Vmm.Host;
using Vmm.Tests.Kvm;

namespace Vmm.Tests.Host;

/// <summary>Nothing else runs meanwhile: for a moment this process can open nothing.</summary>
[Collection(Alone.Name)]
public sealed partial class SocketNameTests
{
    private const int RLIMIT_NOFILE = 7;

    [Fact]
    public unsafe void Without_a_descriptor_left_a_connection_is_closed_and_does_not_wait_for_ever()
    {
        string path = Path.Combine(Path.GetTempPath(), $"vmm-name-{Environment.ProcessId}");
        FileDescriptor? connection = null;
        SocketName? name = null;
        Assert.Equal(0, SocketName.TryJoin(path, ref connection, ref name));
        using SocketName listening = name!;
        using var loop = new EventLoop();
        int turns = 0;
        loop.Add(listening.Number, LibC.EPOLLIN, _ =>
        {
            turns++;
            connection = listening.Accept();
        });
        using var first = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
        using var second = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
        second.ReceiveTimeout = first.ReceiveTimeout = 60_000;
        var end = new UnixDomainSocketEndPoint(path);

        var filling = new List<FileDescriptor>();
        Limit limit, low;
        Assert.Equal(0, GetLimit(RLIMIT_NOFILE, &limit));
        low = limit with { Soft = 1024 };
        Assert.Equal(0, SetLimit(RLIMIT_NOFILE, &low));
        try
        {
            for (int number; (number = LibC.fcntl(listening.Number, LibC.F_DUPFD_CLOEXEC, 0)) >= 0;)
            {
                filling.Add(new FileDescriptor(number));
            }

            first.Connect(end);
            loop.Turn(0);
            Assert.Null(connection);
            Assert.Equal(0, loop.Turn(0));      // nothing is left to be told of
            Assert.Equal(1, turns);
            Assert.Equal(0, first.Receive(new byte[1]));
        }
        finally
        {
            filling.ForEach(each => each.Dispose());
            Assert.Equal(0, SetLimit(RLIMIT_NOFILE, &limit));
        }

        second.Connect(end);
        loop.Turn(0);
        Assert.NotNull(connection);
        connection.Dispose();
        Assert.Equal(0, second.Receive(new byte[1]));
    }

    private record struct Limit(ulong Soft, ulong Hard);

    [LibraryImport("libc", EntryPoint = "getrlimit")]
    private static unsafe partial int GetLimit(int resource, Limit* limit);

    [LibraryImport("libc", EntryPoint = "setrlimit")]
    private static unsafe partial int SetLimit(int resource, Limit* limit);
}

using System.Net.Sockets;
using System.Text;
using Vmm.Backends.Sockets;
using Vmm.Devices.Tests.Virtio;
using Vmm.Devices.Virtio;
using Vmm.Devices.Virtio.Vsock;
using Vmm.Host;

namespace Vmm.Tests.Sockets;

/// <summary>A guest's driver with real rings, and programs of the host at real sockets.</summary>
public sealed class VsockHostTests : IDisposable
{
    private readonly string _directory = Directory.CreateTempSubdirectory("vmm-vsock-").FullName;
    private readonly EventLoop _loop = new();
    private readonly TestRig _rig = new();
    private readonly VsockHost _host;
    private readonly TestDriverVsock _guest;

    public VsockHostTests()
    {
        _host = new VsockHost(_loop, VsockSpec.Parse(SocketPath));
        _guest = new TestDriverVsock(_rig, new VirtioVsock("vsock", _host, TestDriverVsock.Cid), Variant.Default);
    }

    private string SocketPath => Path.Combine(_directory, "vm.sock");

    public void Dispose()
    {
        _host.Dispose();
        _loop.Dispose();
        _rig.Dispose();
        Directory.Delete(_directory, recursive: true);
    }

    [Fact]
    public void A_program_connects_to_the_guest()
    {
        using Socket program = Request("CONNECT 52\nthe rest");
        _guest.Offer(8);
        VsockHeader asked = Next(VsockOp.Request).Header;
        Assert.Equal(52u, asked.DstPort);
        Reply(VsockOp.Response, asked);
        Assert.Equal("the rest", Encoding.ASCII.GetString(Next(VsockOp.Rw).Data));
        Assert.Equal($"OK {asked.SrcPort}\n", ReadAll(program, 4 + asked.SrcPort.ToString(System.Globalization.CultureInfo.InvariantCulture).Length));
        Reply(VsockOp.Rw, asked, "hello");
        Assert.Equal("hello", ReadAll(program, 5));
        program.Shutdown(SocketShutdown.Send);
        Assert.Equal(VsockShutdown.Send, Next(VsockOp.Shutdown).Header.Flags);
        Reply(VsockOp.Rw, asked, "bye");
        Reply(VsockOp.Shutdown, asked, flags: VsockShutdown.Both);
        Next(VsockOp.Rst);
        Assert.Equal("bye", ReadAll(program, 100));
    }

    [Fact]
    public void The_guest_connects_to_a_program()
    {
        using Socket listener = Listen(1000);
        _guest.Offer(8);
        _guest.Send(VsockOp.Request, 1000);
        using Socket program = listener.Accept();
        Next(VsockOp.Response);
        _guest.Send(VsockOp.Rw, 1000, "question"u8);
        Assert.Equal("question", ReadAll(program, 8));
        program.Send("answer"u8);
        program.Close();
        Assert.Equal("answer", Encoding.ASCII.GetString(Next(VsockOp.Rw).Data));
        VsockShutdown flags = Next(VsockOp.Shutdown).Header.Flags;
        if (flags == VsockShutdown.Send)
        {
            flags = Next(VsockOp.Shutdown).Header.Flags;        // the loop saw the end before it saw that nobody is there
        }

        Assert.Equal(VsockShutdown.Both, flags);
        _guest.Send(VsockOp.Rst, 1000);
        Assert.Equal(0, _guest.Device.Connections);
        Assert.Equal(0, _loop.Turn(0));
    }

    [Fact]
    public void A_guests_connection_without_a_listener_is_refused()
    {
        using Socket listener = Listen(1000);
        _guest.Offer(1);
        _guest.Send(VsockOp.Request, 1001);
        _guest.Expect(VsockOp.Rst);
    }

    [Fact]
    public void What_the_guest_refuses_the_program_sees_end()
    {
        using Socket program = Request("connect 7\r\n");
        _guest.Offer(1);
        Reply(VsockOp.Rst, Next(VsockOp.Request).Header);
        Assert.Equal("", ReadAll(program, 100));
    }

    [Theory]
    [InlineData("HELLO\n")]
    [InlineData("CONNECT\n")]
    [InlineData("CONNECT -1\n")]
    [InlineData("CONNECT 4294967296\n")]
    [InlineData("CONNECT 5 6\n")]
    [InlineData("CONNECT 0000000000000000000000000000000000000000000000000007\n")]
    public void What_is_no_request_is_turned_away(string request)
    {
        using Socket program = Request(request);
        Settle();
        Assert.Equal("", ReadAll(program, 100));
        _guest.Offer(1);
        Assert.Null(_guest.Take());
    }

    [Fact]
    public void A_program_that_leaves_before_it_asked_or_was_answered_leaves_nothing()
    {
        Request("CONN").Close();
        Settle();
        Request("CONNECT 1\n").Close();
        _guest.Offer(2);
        Next(VsockOp.Request);
        Next(VsockOp.Rst);
        Assert.Equal(0, _guest.Device.Connections);
        Assert.Equal(0, _loop.Turn(0));
    }

    [Fact]
    public void Programs_that_say_nothing_do_not_shut_the_others_out()
    {
        var silent = new List<Socket>();
        for (int i = 0; i < 100; i++)
        {
            silent.Add(Request(""));
            Settle();
        }

        using Socket program = Request("CONNECT 52\n");
        _guest.Offer(8);
        Assert.Equal(52u, Next(VsockOp.Request).Header.DstPort);
        Assert.Equal("", ReadAll(silent[0], 100));      // the oldest made room
        silent[^1].Send("CONNECT 53\n"u8);                // and the young ones may still speak
        Assert.Equal(53u, Next(VsockOp.Request).Header.DstPort);
        silent.ForEach(static socket => socket.Dispose());
    }

    [Fact]
    public async Task Megabytes_pass_a_slow_program_and_a_slow_guest()
    {
        const int Length = 3 << 20;
        using Socket listener = Listen(1000);
        _guest.Offer(4);
        _guest.Send(VsockOp.Request, 1000);
        using Socket program = listener.Accept();
        Next(VsockOp.Response);

        byte[] all = new byte[Length];
        new Random(3).NextBytes(all);
        var heard = new MemoryStream();
        Task hearing = Task.Run(() =>
        {
            byte[] some = new byte[10_000];
            while (heard.Length < Length)
            {
                heard.Write(some, 0, program.Receive(some));
            }
        });
        int sent = 0;
        uint room = VsockConnection.BufferBytes, forwarded = 0;
        while (!hearing.IsCompleted)
        {
            int next = (int)Math.Min(Math.Min(Length - sent, 65536), room - ((uint)sent - forwarded));
            if (next > 0)
            {
                _guest.Send(VsockOp.Rw, 1000, all.AsSpan(sent, next));
                sent += next;
            }

            Turn(1);
            while (_guest.Take() is { } packet)
            {
                Assert.Equal(VsockOp.CreditUpdate, packet.Header.Op);
                forwarded = packet.Header.FwdCnt;
                _guest.Offer(1);
            }
        }

        Assert.True(hearing.IsCompletedSuccessfully);
        Assert.Equal(all, heard.ToArray());

        _guest.BufAlloc = 10_000;
        _guest.Send(VsockOp.CreditUpdate, 1000);
        Task telling = Task.Run(() => program.Send(all));
        int got = 0;
        while (got < Length)
        {
            Turn(10);
            while (_guest.Take() is { } packet)
            {
                Assert.Equal(all[got..(got + packet.Data.Length)], packet.Data);
                got += packet.Data.Length;
                _guest.FwdCnt = (uint)got;
                _guest.Send(VsockOp.CreditUpdate, 1000);
                _guest.Offer(1);
            }
        }

        await telling;
    }

    [Fact]
    public void At_the_end_the_name_is_deleted_and_programs_see_the_end()
    {
        Assert.True(File.Exists(SocketPath));
        Assert.Contains("a program listens there", Assert.Throws<UsageException>(
            () => new VsockHost(_loop, VsockSpec.Parse(SocketPath))).Message, StringComparison.Ordinal);
        using Socket listener = Listen(1000);
        _guest.Send(VsockOp.Request, 1000);
        using Socket program = listener.Accept();
        using Socket waiting = Request("");
        Settle();
        _host.Dispose();
        Assert.False(File.Exists(SocketPath));
        Assert.Equal("", ReadAll(program, 100));
        Assert.Equal("", ReadAll(waiting, 100));
    }

    private static string ReadAll(Socket program, int most)
    {
        byte[] text = new byte[most];
        int length = 0;
        program.ReceiveTimeout = 20_000;
        try
        {
            while (length < most && program.Receive(text.AsSpan(length)) is > 0 and int got)
            {
                length += got;
            }
        }
        catch (SocketException error) when (error.SocketErrorCode == SocketError.ConnectionReset)
        {
            // the end as well, where not all of a request was read
        }

        return Encoding.ASCII.GetString(text, 0, length);
    }

    private Socket Request(string line)
    {
        var program = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
        program.Connect(new UnixDomainSocketEndPoint(SocketPath));
        program.Send(Encoding.ASCII.GetBytes(line));
        return program;
    }

    private Socket Listen(uint port)
    {
        var listener = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
        listener.Bind(new UnixDomainSocketEndPoint($"{SocketPath}_{port}"));
        listener.Listen();
        return listener;
    }

    private void Reply(VsockOp op, VsockHeader to, string data = "", VsockShutdown flags = VsockShutdown.None) => _guest.Send(
        _guest.Header(op, to.SrcPort, data.Length, flags) with { SrcPort = to.DstPort }, Encoding.ASCII.GetBytes(data));

    /// <summary>The next packet, once the loop has it.</summary>
    private (VsockHeader Header, byte[] Data) Next(VsockOp op)
    {
        DateTime end = DateTime.UtcNow + TimeSpan.FromSeconds(60);
        while (true)
        {
            if (_guest.Take() is { } packet)
            {
                Assert.Equal(op, packet.Header.Op);
                return packet;
            }

            Assert.True(DateTime.UtcNow < end, $"no {op} comes");
            Turn(50);
        }
    }

    private void Settle()
    {
        while (Turn(20) > 0)
        {
            // there may be more
        }
    }

    private int Turn(int timeoutMilliseconds)
    {
        int events = _loop.Turn(timeoutMilliseconds);
        _rig.RunLoop();
        return events;
    }
}

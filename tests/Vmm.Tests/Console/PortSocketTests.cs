using System.Net.Sockets;
using System.Text;
using Vmm.Backends.Console;
using Vmm.Devices.Memory;
using Vmm.Devices.Tests.Virtio;
using Vmm.Devices.Virtio;
using Vmm.Devices.Virtio.Console;
using Vmm.Host;
using Buffer = Vmm.Devices.Tests.Virtio.Buffer;

namespace Vmm.Tests.Console;

/// <summary>A guest's driver with real rings at one end of a port, and programs of the host at the other.</summary>
public sealed class PortSocketTests : IDisposable
{
    private const int ControlReceive = 2, ControlTransmit = 3, Receive = 4, Transmit = 5;

    private readonly string _directory = Directory.CreateTempSubdirectory("vmm-port-").FullName;
    private readonly EventLoop _loop = new();
    private readonly TestRig _rig = new();
    private readonly PortSocket _port;
    private readonly TestDriver _driver;

    public PortSocketTests()
    {
        _port = new PortSocket(_loop, new PortSpec("data", SocketPath));
        _driver = new TestDriver(_rig, new VirtioConsole("console", null, _port.Port), Variant.Default);
        _driver.Start();
        for (int i = 0; i < 32; i++)
        {
            _driver.Queues[ControlReceive].Add(new Buffer(_driver.Allocate(96), 96, true));
        }

        Tell(uint.MaxValue, 0, 1);
        Tell(1, 3, 1);
    }

    private string SocketPath => Path.Combine(_directory, "port");

    public void Dispose()
    {
        _port.Dispose();
        _loop.Dispose();
        _rig.Dispose();
        Directory.Delete(_directory, recursive: true);
    }

    [Fact]
    public void Bytes_pass_both_ways()
    {
        Open();
        using Socket program = Connect();
        program.Send("question"u8);
        Assert.Equal("question", Read(8));
        Write("answer");
        Assert.Equal("answer", Heard(program, 6));
    }

    /// <summary>What comes before a program of the guest opens the port waits, and so does what was said by one that has
    /// gone.</summary>
    [Fact]
    public void The_bytes_of_a_program_that_has_disconnected_are_delivered()
    {
        byte[] said = new byte[50_000];
        new Random(1).NextBytes(said);
        using (Socket program = Connect())
        {
            Assert.Equal(said.Length, program.Send(said));
        }

        Turn();
        Assert.Equal(0, _loop.Turn(0));     // nothing spins meanwhile
        Open();
        Assert.Equal(Encoding.Latin1.GetString(said), Read(said.Length));
        Turn();
        using Socket next = Connect();
        next.Send("next"u8);
        Assert.Equal("next", Read(4));
    }

    [Fact]
    public void A_program_that_said_all_may_still_listen()
    {
        Open();
        using Socket program = Connect();
        program.Send("ask"u8);
        program.Shutdown(SocketShutdown.Send);
        Assert.Equal("ask", Read(3));
        Turn();
        Assert.Equal(0, _loop.Turn(0));
        Write("answer");
        Assert.Equal("answer", Heard(program, 6));
    }

    [Fact]
    public void A_program_that_does_not_read_holds_the_guest_back_and_loses_nothing()
    {
        Open();
        using Socket program = Connect();
        var all = new StringBuilder();
        for (int i = 0; i < 60; i++)
        {
            string text = new((char)('0' + i), 8000);
            all.Append(text);
            Write(text, take: false);
        }

        Assert.Equal(0, _rig.RunLoop());
        Assert.Equal(all.ToString(), Heard(program, all.Length));
        Assert.Empty(_rig.Log);
    }

    [Fact]
    public void Output_without_a_program_is_dropped_and_a_second_program_waits()
    {
        Open();
        Write("lost");
        using Socket first = Connect();
        using Socket second = Connect();
        Write("first");
        Assert.Equal("first", Heard(first, 5));
        first.Close();
        Turn();
        Turn();
        Write("second");
        Assert.Equal("second", Heard(second, 6));
    }

    [Theory]
    [InlineData("data")]
    [InlineData("=x")]
    [InlineData("data=")]
    [InlineData("../data=x")]
    [InlineData("a b=x")]
    public void What_is_no_port_is_one_clear_line(string text) =>
        Assert.StartsWith($"--port {text}: ", Assert.Throws<UsageException>(() => PortSpec.Parse(text)).Message, StringComparison.Ordinal);

    [Fact]
    public void Names_and_paths_are_there_once()
    {
        Assert.Equal(new PortSpec("a.b-c_1", "/tmp/x=y"), PortSpec.Parse("a.b-c_1=/tmp/x=y"));
        Assert.Throws<UsageException>(() => PortSpec.Check([new PortSpec("a", "x"), new PortSpec("a", "y")]));
        Assert.Throws<UsageException>(() => PortSpec.Check([new PortSpec("a", "x"), new PortSpec("b", "x")]));
        Assert.Throws<UsageException>(() => PortSpec.Check([.. Enumerable.Range(0, 31).Select(i => new PortSpec($"{i}", $"{i}"))]));
        Assert.Contains(
            "a program listens there already",
            Assert.Throws<UsageException>(() => new PortSocket(_loop, new PortSpec("again", SocketPath))).Message, StringComparison.Ordinal);
    }

    private Socket Connect()
    {
        var socket = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
        socket.Connect(new UnixDomainSocketEndPoint(SocketPath));
        Turn();
        return socket;
    }

    private void Open() => Tell(1, 6, 1);

    /// <summary>All that is ready is done.</summary>
    private void Turn()
    {
        do
        {
            _rig.RunLoop();
        }
        while (_loop.Turn(20) > 0);
    }

    private void Tell(uint id, ushort kind, ushort value)
    {
        ulong at = _driver.Allocate(8);
        _rig.Memory.Write(new GuestAddress(at), id | ((ulong)kind << 32) | ((ulong)value << 48));
        _driver.Queues[ControlTransmit].Add(new Buffer(at, 8, false));
        _driver.Kick(ControlTransmit);
        Assert.True(_driver.Queues[ControlTransmit].TryTake(out _, out _));
    }

    private void Write(string text, bool take = true)
    {
        ulong at = _driver.Allocate((ulong)text.Length);
        _rig.Memory.Write(new GuestAddress(at), Encoding.Latin1.GetBytes(text));
        _driver.Queues[Transmit].Add(new Buffer(at, (uint)text.Length, false));
        _driver.Kick(Transmit);
        Assert.True(!take || _driver.Queues[Transmit].TryTake(out _, out _), "not sent");
    }

    private string Read(int length)
    {
        var text = new StringBuilder();
        ulong at = _driver.Allocate(4096);
        for (int i = 0; text.Length < length && i < 1000; i++)
        {
            _driver.Queues[Receive].Add(new Buffer(at, 4096, true));
            _driver.Kick(Receive);
            uint got;
            for (int turns = 0; !_driver.Queues[Receive].TryTake(out _, out got) && turns < 100; turns++)
            {
                Turn();
            }

            byte[] bytes = new byte[got];
            _rig.Memory.Read(new GuestAddress(at), bytes);
            text.Append(Encoding.Latin1.GetString(bytes));
        }

        return text.ToString();
    }

    private string Heard(Socket program, int length)
    {
        byte[] bytes = new byte[length];
        int got = 0;
        for (int i = 0; got < length && i < 10_000; i++)
        {
            if (program.Poll(1000, SelectMode.SelectRead))
            {
                int part = program.Receive(bytes.AsSpan(got));
                if (part == 0)
                {
                    break;
                }

                got += part;
            }

            _loop.Turn(0);
            _rig.RunLoop();
        }

        return Encoding.Latin1.GetString(bytes, 0, got);
    }
}

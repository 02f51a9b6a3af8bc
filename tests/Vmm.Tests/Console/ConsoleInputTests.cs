using System.Text;
using Vmm.Backends.Console;
using Vmm.Devices.Legacy;
using Vmm.Devices.Tests.Legacy;
using Vmm.Guest.Tests.Harness;
using Vmm.Host;

namespace Vmm.Tests.Console;

/// <summary>Input on its way to a serial port which the test reads, as a guest would.</summary>
public sealed class ConsoleInputTests : IDisposable
{
    private const ulong Data = 0, LineStatus = 5;
    private const byte Received = 1, EndOfTransmission = 4;

    private readonly EventLoop _loop = new();
    private readonly FileDescriptor _null = FileDescriptor.Open("/dev/null", LibC.O_RDWR);
    private readonly ConsoleOutput _output;
    private readonly Serial16550 _port;
    private readonly List<char> _commands = [];

    public ConsoleInputTests()
    {
        _output = new ConsoleOutput(_loop, _null.Number);
        _port = new Serial16550("COM1", _output, new RecordingLine());
    }

    public void Dispose()
    {
        _output.Dispose();
        _loop.Dispose();
        _null.Dispose();
    }

    [Fact]
    public void A_pipe_arrives_whole_and_its_end_as_Ctrl_D()
    {
        using var pipe = new InputPipe();
        using ConsoleInput input = Open(pipe.Read, null);
        input.Start();
        string text = string.Concat(Enumerable.Range(0, 1000).Select(i => $"line {i}\n"));
        pipe.Write(text);
        pipe.Close();
        Assert.Equal(text + (char)EndOfTransmission, Read(text.Length + 1));
        Assert.Equal(text.Length + 1, input.TotalBytes);
    }

    [Fact]
    public void A_pipe_that_has_ended_unread_leaves_the_loop_alone()
    {
        using var pipe = new InputPipe();
        using ConsoleInput input = Open(pipe.Read, null);
        pipe.Write(new string('k', 100));
        pipe.Close();
        input.Start();

        // The first turns read what there is; then epoll would tell the hang-up in every one.
        int turns = 0;
        while (_loop.Turn(50) != 0)
        {
            Assert.True(turns++ < 10, "the loop spins");
        }

        Assert.Equal(new string('k', 100) + (char)EndOfTransmission, Read(101));
    }

    [Fact]
    public void A_file_arrives_whole_too()
    {
        string path = Path.GetTempFileName();
        string text = string.Concat(Enumerable.Range(0, 1000).Select(i => $"line {i}\n"));
        File.WriteAllText(path, text);
        using (FileDescriptor file = FileDescriptor.Open(path, LibC.O_RDONLY))
        using (ConsoleInput input = Open(file.Number, null))
        {
            input.Start();
            Assert.Equal(text + (char)EndOfTransmission, Read(text.Length + 1));
        }

        File.Delete(path);
    }

    [Fact]
    public void Commands_are_heard_behind_keys_that_the_guest_does_not_read()
    {
        using var pty = new TerminalPair();
        using ConsoleInput input = Open(pty.Number, pty.Terminal);
        input.Start();
        for (int i = 0; i < 3; i++)
        {
            pty.Write(new string('k', 1000));
            Turn();
            pty.Write("\x01x");
            Turn();
        }

        Assert.Equal("xxx", string.Concat(_commands));
        Assert.Equal(new string('k', 3000), Read(3000));
    }

    [Fact]
    public void Commands_are_heard_behind_a_paste_that_the_guest_does_not_read_at_all()
    {
        using var pty = new TerminalPair();
        using ConsoleInput input = Open(pty.Number, pty.Terminal);
        input.Start();

        // As much as vmm reads ahead, some of what the terminal holds, and a command.
        const int Ahead = 64 << 10, Held = 2000;
        var typist = new Thread(() => pty.Write(new string('k', Ahead) + new string('h', Held) + "\x01x")) { IsBackground = true };
        typist.Start();
        for (int turns = 0; _commands.Count == 0; turns++)
        {
            Assert.True(turns < 10_000, "the command was not heard");
            _loop.Turn(20);
        }

        Assert.Equal("x", string.Concat(_commands));
        Assert.Equal(new string('k', Ahead), Read(Ahead));
    }

    [Fact]
    public void A_paste_longer_than_what_is_read_ahead_arrives_whole_where_the_guest_reads()
    {
        using var pty = new TerminalPair();
        using ConsoleInput input = Open(pty.Number, pty.Terminal);
        input.Start();
        string text = string.Concat(Enumerable.Range(0, 20_000).Select(i => $"line {i}\n"));
        var typist = new Thread(() => pty.Write(text)) { IsBackground = true };
        typist.Start();
        Assert.Equal(text, Read(text.Length));
        typist.Join();
    }

    [Fact]
    public void A_terminal_that_is_not_ours_is_not_read()
    {
        using var pty = new TerminalPair();
        using ConsoleInput input = Open(pty.Number, pty.Terminal);
        input.Hold();
        input.Start();
        pty.Write("shell");
        Turn();
        Assert.Equal(0, input.TotalBytes);
        input.Release();
        Assert.Equal("shell", Read(5));
        input.Hold();
        pty.Write("\x01x");
        Turn();
        Assert.Empty(_commands);
        input.Release();
        Turn();
        Assert.Equal("x", string.Concat(_commands));
    }

    [Fact]
    public void A_terminal_that_is_hung_up_has_ended()
    {
        using var pty = new TerminalPair();
        using ConsoleInput input = Open(pty.Number, pty.Terminal);
        input.Start();
        pty.HangUp();
        Assert.Equal($"{(char)EndOfTransmission}", Read(1));
    }

    private ConsoleInput Open(int fd, Terminal? terminal) =>
        new(_loop, fd, terminal, _port, _output, key => _commands.Add((char)key));

    private void Turn(int patience = 20)
    {
        for (int turns = 0; _loop.Turn(patience) != 0; turns++)
        {
            Assert.True(turns < 1000, "the loop spins");
        }
    }

    /// <summary>Reads as a guest does that polls, while the loop takes its turns.</summary>
    private string Read(int length)
    {
        var text = new StringBuilder();
        for (int idle = 0; text.Length < length && idle < 100;)
        {
            if ((_port.Read(LineStatus) & Received) != 0)
            {
                text.Append((char)_port.Read(Data));
                idle = 0;
            }
            else
            {
                idle += _loop.Turn(20) == 0 ? 1 : 0;
            }
        }

        return text.ToString();
    }

    /// <summary>A terminal in raw mode, and the side at which keys are typed.</summary>
    private sealed class TerminalPair : IDisposable
    {
        private readonly PseudoTerminal _keys = new();
        private readonly FileDescriptor _fd;
        private bool _isHungUp;

        public TerminalPair()
        {
            _fd = FileDescriptor.Open(_keys.Path, LibC.O_RDWR | LibC.O_NOCTTY);
            Terminal = Terminal.TryOpen(_fd.Number)!;
            Terminal.Take();
        }

        public Terminal Terminal { get; }

        public int Number => _fd.Number;

        public void Write(string keys) => _keys.Write(keys);

        /// <summary>Closes the side of the keys; once.</summary>
        public void HangUp()
        {
            _keys.Dispose();
            _isHungUp = true;
        }

        public void Dispose()
        {
            Terminal.Dispose();
            _fd.Dispose();
            if (!_isHungUp)
            {
                _keys.Dispose();
            }
        }
    }

    private sealed unsafe class InputPipe : IDisposable
    {
        private readonly FileDescriptor _read;
        private readonly FileDescriptor _write;

        public InputPipe() => (_read, _write) = Pipe.Create();

        public int Read => _read.Number;

        public void Write(string text)
        {
            fixed (byte* start = Encoding.ASCII.GetBytes(text))
            {
                Assert.Equal(text.Length, LibC.write(_write.Number, start, text.Length));
            }
        }

        public void Close() => _write.Dispose();

        public void Dispose()
        {
            _read.Dispose();
            _write.Dispose();
        }
    }
}

using System.Net.Sockets;
using System.Text;
using System.Text.Json;
using Vmm.Control;
using Vmm.Host;

namespace Vmm.Tests.Control;

/// <summary>A control socket with a target that is no machine, served by a loop of its own, and clients of the test's own.</summary>
internal sealed class ControlStand : IDisposable
{
    private readonly string _directory = Directory.CreateTempSubdirectory("vmm-control-").FullName;
    private readonly EventLoop _loop = new();
    private readonly SocketName _name;
    private readonly ControlServer _server;

    public ControlStand()
    {
        Path = System.IO.Path.Combine(_directory, "c.sock");
        _name = SocketName.Listen("--control", Path);
        _server = new ControlServer(_loop, _name, Target);
        _loop.Failed += error => Failure = error;
        _loop.Start();
    }

    public string Path { get; }

    public string Folder => _directory;

    public FakeTarget Target { get; } = new();

    public ControlServer Server => _server;

    /// <summary>The exception of a handler, which would end a machine.</summary>
    public Exception? Failure { get; private set; }

    public Client Connect() => new(Path);

    public void Post(Action action) => _loop.Post(action);

    public void Dispose()
    {
        _server.Dispose();
        _name.Dispose();
        _loop.Dispose();
        Directory.Delete(_directory, recursive: true);
    }

    /// <summary>Answers at once, later, or with an error.</summary>
    internal sealed class FakeTarget : IControlTarget
    {
        public ControlGreeting Greeting => new() { Protocol = ControlGreeting.CurrentProtocol, Vmm = "0.0.0", Pid = 1, Name = "fake" };

        public Action<ControlEvent> Tell { get; set; } = static _ => { };

        public List<ControlAnswer> Later { get; } = [];

        public int Asked { get; private set; }

        public bool IsDisposed { get; private set; }

        public void Do(string command, JsonElement? arguments, ControlAnswer answer)
        {
            Asked++;
            switch (command)
            {
                case "now":
                    answer.Done();
                    break;
                case "later":
                    lock (Later)
                    {
                        Later.Add(answer);
                    }

                    break;
                case "need":
                    StreamRequests.Read(arguments, ControlJson.Default.DiskArguments);
                    answer.Done();
                    break;
                default:
                    throw new ControlException("unknown-command", $"{command}: no such command");
            }
        }

        public void Dispose() => IsDisposed = true;
    }

    /// <summary>Sends any bytes, and reads lines.</summary>
    internal sealed class Client : IDisposable
    {
        private readonly Socket _socket = new(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified)
        {
            ReceiveTimeout = 30_000,
            SendTimeout = 30_000,
        };

        private readonly StreamReader _reader;

        public Client(string path)
        {
            long end = Environment.TickCount64 + 10_000;
            while (true)
            {
                try
                {
                    _socket.Connect(new UnixDomainSocketEndPoint(path));
                    break;
                }
                catch (SocketException error) when (error.SocketErrorCode == SocketError.WouldBlock && Environment.TickCount64 < end)
                {
                    Thread.Sleep(5);
                }
            }

            _reader = new StreamReader(new NetworkStream(_socket), Encoding.UTF8);
            First = _reader.ReadLine()!;
        }

        /// <summary>The greeting, or why there is none.</summary>
        public string First { get; }

        public Socket Socket => _socket;

        public void Say(string text) => _socket.Send(Encoding.UTF8.GetBytes(text));

        /// <returns>Null at the end.</returns>
        public string? Read()
        {
            try
            {
                return _reader.ReadLine();
            }
            catch (IOException error) when (error.InnerException is SocketException { SocketErrorCode: SocketError.ConnectionReset })
            {
                return null;
            }
        }

        public string? Ask(string line)
        {
            Say(line + "\n");
            return Read();
        }

        public void Dispose()
        {
            _reader.Dispose();
            _socket.Dispose();
        }
    }
}

using Vmm.Devices.Virtio;
using Vmm.Devices.Virtio.Net;
using Vmm.Host;

namespace Vmm.Backends.Networks;

/// <summary>A link to another VM through a socket in the file system (<c>socket=PATH</c>): the first one listens, the second
/// connects. When one ends, the other waits for a new connection, or listens itself.</summary>
internal sealed class SocketNet : StreamNet
{
    private const int MacBytes = 6;

    private static readonly TimeSpan Pause = TimeSpan.FromMilliseconds(500);

    private readonly string _path;
    private readonly string _option;
    private readonly byte[] _mac;
    private readonly IDeviceLog _log;
    private readonly LoopTimer _retry;
    private SocketName? _name;
    private Interest? _nameInterest;
    private bool _saidClash;
    private bool _saidThird;

    /// <param name="path">Path of the Unix socket.</param>
    /// <param name="mac">The card's own, six bytes.</param>
    /// <exception cref="UsageException">The path cannot be used.</exception>
    public SocketNet(EventLoop loop, string path, byte[] mac, IDeviceLog log)
        : base(loop)
    {
        _path = path;
        _option = $"--net socket={path}";
        _mac = mac;
        _log = log;
        _retry = new LoopTimer(loop, () => Join(first: false));
        try
        {
            Join(first: true);
        }
        catch
        {
            Dispose();
            throw;
        }
    }

    public override void Attach(INetCard card)
    {
        base.Attach(card);
        card.SetLink(IsConnected);
    }

    public override void Dispose()
    {
        _retry.Dispose();
        _nameInterest?.Dispose();
        _name?.Dispose();
        base.Dispose();
    }

    protected override void Lost(string? fault)
    {
        if (fault is not null)
        {
            _log.Warn(_option, $"the connection broke: {fault}");
        }

        Card.SetLink(false);
        if (_name is null)
        {
            _retry.Set(Pause);      // not at once: a peer that refuses this machine would have to do so in an endless loop
        }
    }

    protected override void Received(ReadOnlySpan<byte> frame)
    {
        if (!_saidClash && frame.Slice(MacBytes, MacBytes).SequenceEqual(_mac))
        {
            _saidClash = true;
            _log.Warn(_option, $"both machines have the MAC address {MacAddress.Format(_mac)}: give each a --name, or mac=");
        }
    }

    /// <summary>Connects to the program that listens, or listens if there is none.</summary>
    private void Join(bool first)
    {
        FileDescriptor? connection = null;
        int errno = SocketName.TryJoin(_path, ref connection, ref _name);
        if (connection is not null)
        {
            Use(connection);
        }
        else if (_name is not null)
        {
            _nameInterest = new Interest(Loop, _name.Number, LibC.EPOLLIN, _ => Accept());
        }
        else if (first && errno != ErrnoException.EAGAIN)
        {
            throw SocketName.CannotUse(_option, _path, errno);
        }
        else
        {
            // Another program is taking over the name, or its directory cannot be used for a while.
            _retry.Set(Pause);
        }
    }

    private void Accept()
    {
        FileDescriptor? connection = _name!.Accept();
        if (connection is null)
        {
            return;
        }

        if (!IsConnected)
        {
            Use(connection);
            return;
        }

        connection.Dispose();
        if (!_saidThird)
        {
            _saidThird = true;
            _log.Warn(_option, "a third machine wants to connect; a socket joins two, others need a tap each and a bridge");
        }
    }

    private void Use(FileDescriptor connection)
    {
        Open(connection);
        Card?.SetLink(true);
    }
}

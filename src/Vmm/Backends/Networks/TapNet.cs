using System.Runtime.InteropServices;
using Vmm.Devices.Virtio;
using Vmm.Devices.Virtio.Net;
using Vmm.Host;

namespace Vmm.Backends.Networks;

/// <summary>A tap interface of the host (<c>tap=NAME</c>), with the offloads that the guest takes and a queue for each of
/// the card's pairs.</summary>
internal sealed class TapNet : INetBackend, IDisposable
{
    private static uint AllOffloads => LibC.TUN_F_CSUM | LibC.TUN_F_TSO4 | LibC.TUN_F_TSO6 | LibC.TUN_F_TSO_ECN;

    private readonly TapDevice[] _queues;
    private readonly Interest[] _interests;
    private readonly bool[] _attached;
    private readonly string _option;
    private readonly IDeviceLog _log;
    private INetCard _card = null!;
    private bool _isGone;

    /// <exception cref="UsageException">The interface cannot be opened.</exception>
    public TapNet(EventLoop loop, string name, int pairs, IDeviceLog log)
    {
        _option = $"--net tap={name}";
        _log = log;
        _queues = Open(name, pairs);
        Offloads = NetOffloads.Checksum | NetOffloads.Tso4 | NetOffloads.Tso6 | NetOffloads.Ecn
            | (_queues[0].TrySetOffload(AllOffloads | LibC.TUN_F_UFO) ? NetOffloads.Ufo : 0);
        _queues[0].TrySetOffload(0);
        _attached = new bool[pairs];
        _interests = new Interest[pairs];
        for (int i = 0; i < pairs; i++)
        {
            int pair = i;
            _attached[i] = true;
            _interests[i] = new Interest(loop, _queues[i].Number, 0, events => Ready(pair, events));
        }

        Attach(1);
    }

    public NetOffloads Offloads { get; }

    public int QueuePairs => _queues.Length;

    public long SendDropped { get; private set; }

    public long ReceiveDropped => 0;    // frames that do not fit wait or are dropped in the kernel: ip -s link

    public void Attach(INetCard card) => _card = card;

    public void Configure(NetOffloads accepted, int pairs)
    {
        _queues[0].TrySetOffload(
            ((accepted & NetOffloads.Checksum) != 0 ? LibC.TUN_F_CSUM : 0)
            | ((accepted & NetOffloads.Tso4) != 0 ? LibC.TUN_F_TSO4 : 0)
            | ((accepted & NetOffloads.Tso6) != 0 ? LibC.TUN_F_TSO6 : 0)
            | ((accepted & NetOffloads.Ecn) != 0 ? LibC.TUN_F_TSO_ECN : 0)
            | ((accepted & NetOffloads.Ufo) != 0 ? LibC.TUN_F_UFO : 0));
        Attach(Math.Max(pairs, 1));
    }

    public bool TrySend(int pair, ReadOnlySpan<IoVector> frame)
    {
        nint sent = _queues[pair].Write(frame);
        if (sent == -ErrnoException.EAGAIN)
        {
            _interests[pair].Set(LibC.EPOLLOUT, true);
            return false;
        }

        if (sent < 0)
        {
            SendDropped++;      // the interface is down or gone, or the kernel finds the frame unsound
        }

        return true;
    }

    public int Receive(int pair, ReadOnlySpan<IoVector> buffers) => (int)Math.Max(0, _queues[pair].Read(buffers));

    public void WantReceive(int pair, bool want) => _interests[pair].Set(LibC.EPOLLIN, want);

    public void Dispose()
    {
        foreach (Interest interest in _interests)
        {
            interest.Dispose();
        }

        _queues[0].TrySetOffload(0);        // as before, for the next user of the interface
        foreach (TapDevice queue in _queues)
        {
            queue.Dispose();
        }
    }

    private void Ready(int pair, int events)
    {
        if ((events & LibC.EPOLLERR) != 0)
        {
            Gone();
            return;
        }

        if ((events & LibC.EPOLLOUT) != 0)
        {
            _interests[pair].Set(LibC.EPOLLOUT, false);
            _card.SendReady(pair);
        }

        if ((events & LibC.EPOLLIN) != 0)
        {
            _card.ReceiveReady(pair);
        }
    }

    /// <summary>The interface was deleted: reports that once and continues without it.</summary>
    private void Gone()
    {
        if (_isGone)
        {
            return;
        }

        _isGone = true;
        foreach (Interest interest in _interests)
        {
            interest.Dispose();
        }

        _log.Warn(_option, "the interface was deleted; the card has no network any more");
        _card.SetLink(false);
    }

    /// <summary>The kernel spreads frames over all queues that are attached: those that the driver does not use must not
    /// be.</summary>
    private void Attach(int pairs)
    {
        for (int i = 1; i < _queues.Length; i++)
        {
            if (_attached[i] != i < pairs && !_isGone)
            {
                _attached[i] = i < pairs;
                _queues[i].SetAttached(_attached[i]);
            }
        }
    }

    private TapDevice[] Open(string name, int pairs)
    {
        bool existed = Directory.Exists($"/sys/class/net/{name}");
        var queues = new List<TapDevice>();
        ushort flags = pairs > 1 ? LibC.IFF_MULTI_QUEUE : (ushort)0;
        while (queues.Count < pairs)
        {
            TapDevice? queue = TapDevice.TryOpen(name, flags, out int errno);
            if (queue is null && errno == ErrnoException.EINVAL && pairs == 1 && flags == 0)
            {
                flags = LibC.IFF_MULTI_QUEUE;       // one queue of an interface that could have more
                continue;
            }

            if (queue is null)
            {
                queues.ForEach(open => open.Dispose());
                throw CannotOpen(name, pairs, errno, existed);
            }

            queues.Add(queue);
        }

        if (!TapDevice.IsUp(name))
        {
            if (queues[0].IsTemporary())
            {
                TapDevice.SetUp(name);      // made just now, for this machine
            }
            else
            {
                _log.Warn(_option, $"the interface is down; as root: ip link set {name} up");
            }
        }

        return [.. queues];
    }

    private UsageException CannotOpen(string name, int pairs, int errno, bool existed) => new(_option + ": " + errno switch
    {
        ErrnoException.ENOENT or ErrnoException.ENODEV or ErrnoException.ENXIO =>
            "this host has no taps; as root: modprobe tun",
        ErrnoException.EACCES => "/dev/net/tun cannot be opened; as root: chmod 666 /dev/net/tun",
        ErrnoException.EPERM when existed =>
            $"the interface is another user's; as root: ip tuntap del {name} mode tap; ip tuntap add {name} mode tap user $USER",
        ErrnoException.EPERM =>
            $"there is no such interface, and only root may make one; as root: ip tuntap add {name} mode tap user $USER",
        ErrnoException.EBUSY when pairs == 1 => "it is in use by another machine; stop that, or give another",
        ErrnoException.EBUSY or ErrnoException.E2BIG => $"it has no {pairs} queues free",
        ErrnoException.EINVAL when pairs > 1 =>
            $"it has one queue only; delete it and make it again: ip tuntap add {name} mode tap multi_queue",
        ErrnoException.EINVAL => "it is no tap interface",
        _ => Marshal.GetPInvokeErrorMessage(errno),
    });
}

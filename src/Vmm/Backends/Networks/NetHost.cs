using Vmm.Devices.Virtio;
using Vmm.Devices.Virtio.Net;
using Vmm.Host;

namespace Vmm.Backends.Networks;

/// <summary>A network ready for the guest.</summary>
/// <param name="Backend">Owned by the <see cref="NetHost"/>.</param>
/// <param name="Options">How the card looks to the guest.</param>
internal sealed record OpenNet(INetBackend Backend, NetOptions Options);

/// <summary>Opens what <c>--net</c> names, and closes all of it at the machine's end.</summary>
/// <param name="machine">The machine's name, which MAC addresses are derived from.</param>
internal sealed class NetHost(EventLoop loop, string machine, IDeviceLog log) : IDisposable
{
    private readonly List<IDisposable> _owned = [];
    private readonly List<PasstNet> _starting = [];
    private int _count;

    /// <summary>Before the loop starts.</summary>
    /// <exception cref="UsageException">An option does not fit the host; one line that says what to do.</exception>
    /// <exception cref="HostException">The host lacks something.</exception>
    public OpenNet Open(NetSpec spec)
    {
        byte[] mac = spec.Mac ?? MacAddress.Derive(machine, _count);
        _count++;
        INetBackend backend = spec.Mode switch
        {
            NetMode.User => OpenUser(spec),
            NetMode.Tap => new TapNet(loop, spec.Target, spec.Queues, log),
            _ => new SocketNet(loop, spec.Target, mac, log),
        };
        if (spec.Faults.Any)
        {
            backend = new FaultyNet(backend, spec.Faults, TimeProvider.System, elapsed => new LoopTimer(loop, elapsed));
        }

        _owned.Add((IDisposable)backend);
        return new OpenNet(backend, new NetOptions
        {
            Mac = mac,
            Mtu = spec.Mtu,
            SendLimit = spec.Bandwidth,
            ReceiveLimit = spec.Bandwidth,
            SendFrameLimit = spec.FrameLimit,
            ReceiveFrameLimit = spec.FrameLimit,
        });
    }

    /// <summary>Waits for helper programs to be ready, just before the machine runs.</summary>
    /// <exception cref="HostException">A program does not start.</exception>
    public void WaitUntilReady()
    {
        foreach (PasstNet starting in _starting)
        {
            starting.WaitUntilReady();
        }

        _starting.Clear();
    }

    public void Dispose()
    {
        for (int i = _owned.Count - 1; i >= 0; i--)
        {
            _owned[i].Dispose();
        }

        _owned.Clear();
    }

    private PasstNet OpenUser(NetSpec spec)
    {
        HostPorts.Check(spec.Published);
        var net = new PasstNet(loop, Passt.Start(spec.Published), log);
        _starting.Add(net);
        return net;
    }
}

using Vmm.Backends.Disks;
using Vmm.Backends.Networks;
using Vmm.Backends.Shares;
using Vmm.Backends.Sockets;
using Vmm.Backends.VhostUser;
using Vmm.Devices.Virtio;
using Vmm.Host;
using Vmm.Machines.Slots;

namespace Vmm.Machines;

/// <summary>The virtio devices that the options ask for, each with what is behind it on the host.</summary>
internal sealed class GuestDevices(
    MachineSpec options, EventLoop loop, GuestRam ram, NextLife? before = null, IMachineGuest? guest = null) : IDisposable
{
    // Far above what any guest needs, and a limit to what a hostile one costs.
    private const ulong RngBytesPerSecond = 4 << 20;

    private readonly LoopTime _time = new(loop);
    private readonly List<(Block Device, OpenDisk Disk)> _disks = [];
    private readonly List<Net> _nets = [];
    private DiskHost? _diskHost;
    private NetHost? _netHost;
    private VsockHost? _vsockHost;
    private ShareHost? _shareHost;
    private ServedDevices? _served;

    /// <summary>The disks as the guest sees them, with what is behind each.</summary>
    public IReadOnlyList<(Block Device, OpenDisk Disk)> Disks => _disks;

    /// <summary>Errors of the host under the disks, one line for each file.</summary>
    public IEnumerable<string> DiskErrors => _diskHost?.Errors.Summary ?? [];

    /// <summary>Network cards, in the order given.</summary>
    public IReadOnlyList<Net> Nets => _nets;

    /// <summary>The socket device; null where there is none.</summary>
    public Vsock? Vsock { get; private set; }

    private ulong RingFeatures => VirtioFeatures.Default | (options.Packed ? VirtioFeatures.RingPacked : 0);

    /// <summary>Opens everything, in the order in which the guest finds it. Once, before the loop starts.</summary>
    /// <exception cref="UsageException">A file or an option does not fit.</exception>
    /// <exception cref="HostException">The host lacks something.</exception>
    public void PlugInto(IVirtioSlots slots)
    {
        AddDisks(slots);
        AddNets(slots);
        if (options.Rng)
        {
            slots.Plug(new Rng("virtio-rng0", new SystemEntropy(), RngBytesPerSecond, _time) { RingFeatures = RingFeatures });
        }

        _vsockHost = options.Vsock is { } vsock ? new VsockHost(loop, vsock) : null;
        if ((guest?.Sockets(_vsockHost) ?? _vsockHost) is { } sockets)
        {
            Vsock = new Vsock("virtio-vsock0", sockets, options.Vsock?.Cid ?? VsockSpec.LeastCid) { RingFeatures = RingFeatures };
            slots.Plug(Vsock);
        }

        AddShares(slots);
        AddServed(slots);
    }

    /// <summary>Waits for what starts beside the machine; last thing before it runs.</summary>
    /// <exception cref="HostException">It does not start.</exception>
    public void WaitUntilReady()
    {
        _netHost?.WaitUntilReady();
        _shareHost?.WaitUntilReady();
        _served?.WaitUntilReady();
    }

    /// <summary>Is nothing that the guest asked for on its way in the host? On the loop's thread.</summary>
    public bool AreQuiet => (_diskHost?.IsQuiet ?? true) && _disks.TrueForAll(static disk => !disk.Device.HasRequests);

    /// <inheritdoc cref="DiskHost.Close"/>
    public void Close() => _diskHost?.Close();

    /// <summary>After <see cref="Close"/>: what the guest wrote to ephemeral overlays.</summary>
    public void LeaveTo(NextLife next)
    {
        for (int i = 0; i < _disks.Count; i++)
        {
            if (options.Disks[i].Ephemeral && _disks[i].Disk.Backend.File is HostFile file)
            {
                next.Overlays[i] = file.Duplicate();
            }
        }
    }

    public void Dispose()
    {
        _served?.Dispose();
        _shareHost?.Dispose();
        _vsockHost?.Dispose();
        _netHost?.Dispose();
        _diskHost?.Dispose();
        _time.Dispose();
    }

    private void AddDisks(IVirtioSlots slots)
    {
        if (options.Disks.Count == 0)
        {
            return;
        }

        _diskHost = new DiskHost(loop);
        for (int i = 0; i < options.Disks.Count; i++)
        {
            OpenDisk disk = _diskHost.Open(options.Disks[i], before?.TakeOverlay(i));
            var block = new Block($"virtio-blk{i}", disk.Backend, disk.Options) { RingFeatures = RingFeatures };
            slots.Plug(block);
            _disks.Add((block, disk));
        }
    }

    private void AddShares(IVirtioSlots slots)
    {
        if (options.Shares.Count == 0)
        {
            return;
        }

        _shareHost = new ShareHost(loop, ram.Table, new RateLimitedLog(new DeviceLog(), TimeProvider.System));
        foreach (ShareSpec share in options.Shares)
        {
            slots.Plug(_shareHost.Open(share));
        }
    }

    private void AddServed(IVirtioSlots slots)
    {
        if (options.ServedDisks.Count == 0 && options.ServedNets.Count == 0)
        {
            return;
        }

        _served = new ServedDevices(loop, ram.Table, new RateLimitedLog(new DeviceLog(), TimeProvider.System));
        foreach (string path in options.ServedDisks)
        {
            slots.Plug(_served.OpenDisk(path));
        }

        for (int i = 0; i < options.ServedNets.Count; i++)
        {
            slots.Plug(_served.OpenNet(options.ServedNets[i], MacAddress.Derive(options.Identity, options.Nets.Count + i)));
        }
    }

    private void AddNets(IVirtioSlots slots)
    {
        if (options.Nets.Count == 0)
        {
            return;
        }

        _netHost = new NetHost(loop, options.Identity, new RateLimitedLog(new DeviceLog(), TimeProvider.System));
        for (int i = 0; i < options.Nets.Count; i++)
        {
            OpenNet net = _netHost.Open(options.Nets[i]);
            var card = new Net($"virtio-net{i}", net.Backend, net.Options, _time) { RingFeatures = RingFeatures };
            slots.Plug(card);
            _nets.Add(card);
        }
    }
}

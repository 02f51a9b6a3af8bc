using Vmm.Backends.Console;
using Vmm.Backends.Disks;
using Vmm.Backends.Networks;
using Vmm.Backends.Shares;
using Vmm.Backends.Sockets;
using Vmm.Backends.VhostUser;
using Vmm.Devices.Virtio;
using Vmm.Devices.Virtio.Console;
using Vmm.Devices.Virtio.Vsock;
using Vmm.Host;
using Vmm.Machines.Slots;

namespace Vmm.Machines;

/// <summary>What is behind the virtio devices on the host: files, cards, sockets, and the programs that serve some.</summary>
internal sealed class DeviceBackends : IDisposable
{
    private readonly List<IDisposable> _owned = [];
    private readonly List<OpenDisk> _disks = [];
    private readonly List<OpenNet> _nets = [];
    private readonly List<ConsolePort> _ports = [];
    private readonly List<VirtioDevice> _served = [];
    private DiskHost? _diskHost;
    private NetHost? _netHost;
    private ShareHost? _shareHost;
    private ServedDevices? _servedDevices;

    /// <summary>The disks of <see cref="MachineSpec.Disks"/>.</summary>
    public IReadOnlyList<OpenDisk> Disks => _disks;

    /// <summary>The cards of <see cref="MachineSpec.Nets"/>.</summary>
    public IReadOnlyList<OpenNet> Nets => _nets;

    /// <summary>The host's end of the guest's sockets; null where it has none.</summary>
    public IVsockHost? Sockets { get; private set; }

    /// <summary>The ports of <see cref="MachineSpec.Ports"/>.</summary>
    public IReadOnlyList<ConsolePort> Ports => _ports;

    /// <summary>Devices that other programs serve: shares, disks, cards, in the order in which the guest finds them.</summary>
    public IReadOnlyList<VirtioDevice> Served => _served;

    /// <summary>Errors of the host under the disks, one line for each file.</summary>
    public IEnumerable<string> DiskErrors => _diskHost?.Errors.Summary ?? [];

    /// <summary>Is no operation on a disk's file in flight? On the loop's thread.</summary>
    public bool AreQuiet => _diskHost?.IsQuiet ?? true;

    /// <summary>Opens everything, in the order in which the guest finds it. Before the loop starts.</summary>
    /// <param name="ram">Mapped by the programs that serve devices.</param>
    /// <param name="carried">State of the machine that this one replaces (its overlays); null for none.</param>
    /// <param name="guest">Has sockets with the guest; null for none.</param>
    /// <exception cref="UsageException">A file or an option does not fit.</exception>
    /// <exception cref="HostException">The host lacks something.</exception>
    public static DeviceBackends Open(
        MachineSpec spec, EventLoop loop, GuestRam ram, CarriedState? carried = null, IMachineGuest? guest = null)
    {
        var backends = new DeviceBackends();
        try
        {
            backends.OpenDisks(spec, loop, carried);
            backends.OpenNets(spec, loop);
            backends.OpenSockets(spec, loop, guest);
            backends.OpenPorts(spec, loop);
            backends.OpenShares(spec, loop, ram);
            backends.OpenServed(spec, loop, ram);
            return backends;
        }
        catch
        {
            backends.Dispose();
            throw;
        }
    }

    /// <summary>Waits for helper programs to be ready, just before the machine runs.</summary>
    /// <exception cref="HostException">A program does not start.</exception>
    public void WaitUntilReady()
    {
        _netHost?.WaitUntilReady();
        _shareHost?.WaitUntilReady();
        _servedDevices?.WaitUntilReady();
    }

    /// <inheritdoc cref="DiskHost.Replace"/>
    /// <param name="index">Index of the disk.</param>
    public OpenDisk ReplaceDisk(int index, DiskSpec spec, FileDescriptor? overlay, Action<DiskNode> replace) =>
        _disks[index] = _diskHost!.Replace(_disks[index], spec, overlay, replace);

    /// <inheritdoc cref="DiskHost.Close"/>
    public void Close() => _diskHost?.Close();

    /// <summary>Closes everything; may be called again.</summary>
    public void Dispose()
    {
        for (int i = _owned.Count - 1; i >= 0; i--)
        {
            _owned[i].Dispose();
        }

        _owned.Clear();
    }

    private static RateLimitedLog Log() => new(new DeviceLog(), TimeProvider.System);

    private void OpenDisks(MachineSpec spec, EventLoop loop, CarriedState? carried)
    {
        if (spec.Disks.Count == 0)
        {
            return;
        }

        _diskHost = Own(new DiskHost(loop));
        for (int i = 0; i < spec.Disks.Count; i++)
        {
            _disks.Add(_diskHost.Open(spec.Disks[i], carried?.TakeOverlay(i)));
        }
    }

    private void OpenNets(MachineSpec spec, EventLoop loop)
    {
        if (spec.Nets.Count == 0)
        {
            return;
        }

        _netHost = Own(new NetHost(loop, spec.Identity, Log()));
        foreach (NetSpec net in spec.Nets)
        {
            _nets.Add(_netHost.Open(net));
        }
    }

    private void OpenSockets(MachineSpec spec, EventLoop loop, IMachineGuest? guest)
    {
        VsockHost? sockets = spec.Vsock is { } vsock ? Own(new VsockHost(loop, vsock)) : null;
        Sockets = guest?.Sockets(sockets) ?? sockets;
    }

    private void OpenPorts(MachineSpec spec, EventLoop loop)
    {
        foreach (PortSpec port in spec.Ports)
        {
            _ports.Add(Own(new PortSocket(loop, port)).Port);
        }
    }

    private void OpenShares(MachineSpec spec, EventLoop loop, GuestRam ram)
    {
        if (spec.Shares.Count == 0)
        {
            return;
        }

        _shareHost = Own(new ShareHost(loop, ram.ToMemoryTable(), Log()));
        foreach (ShareSpec share in spec.Shares)
        {
            _served.Add(_shareHost.Open(share));
        }
    }

    private void OpenServed(MachineSpec spec, EventLoop loop, GuestRam ram)
    {
        if (spec.ServedDisks.Count == 0 && spec.ServedNets.Count == 0)
        {
            return;
        }

        _servedDevices = Own(new ServedDevices(loop, ram.ToMemoryTable(), Log()));
        foreach (string path in spec.ServedDisks)
        {
            _served.Add(_servedDevices.OpenDisk(path));
        }

        for (int i = 0; i < spec.ServedNets.Count; i++)
        {
            _served.Add(_servedDevices.OpenNet(spec.ServedNets[i], MacAddress.Derive(spec.Identity, spec.Nets.Count + i)));
        }
    }

    private T Own<T>(T part)
        where T : IDisposable
    {
        _owned.Add(part);
        return part;
    }
}

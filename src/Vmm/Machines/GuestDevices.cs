using Vmm.Backends.Disks;
using Vmm.Backends.Sockets;
using Vmm.Devices.Virtio;
using Vmm.Devices.Virtio.Balloon;
using Vmm.Devices.Virtio.Block;
using Vmm.Devices.Virtio.Console;
using Vmm.Devices.Virtio.Net;
using Vmm.Devices.Virtio.Rng;
using Vmm.Devices.Virtio.Vhost;
using Vmm.Devices.Virtio.Vsock;
using Vmm.Host;
using Vmm.Machines.Slots;

namespace Vmm.Machines;

/// <summary>The virtio devices of a machine, on top of their back ends.</summary>
/// <param name="console">The port of the console; null where it is a serial one.</param>
internal sealed class GuestDevices(
    MachineSpec spec, EventLoop loop, GuestRam ram, DeviceBackends backends, ConsolePort? console = null) : IDisposable
{
    // Far above what any guest needs, and a limit to what a hostile one costs.
    private const ulong RngBytesPerSecond = 4 << 20;

    private readonly LoopTime _time = new(loop);
    private readonly List<(VirtioBlock Device, OpenDisk Disk)> _disks = [];
    private readonly List<VirtioNet> _nets = [];

    /// <summary>The disks as the guest sees them, with what is behind each.</summary>
    public IReadOnlyList<(VirtioBlock Device, OpenDisk Disk)> Disks => _disks;

    /// <summary>Network cards, in the order given.</summary>
    public IReadOnlyList<VirtioNet> Nets => _nets;

    /// <summary>The socket device; null where there is none.</summary>
    public VirtioVsock? Vsock { get; private set; }

    /// <summary>The memory balloon; null where there is none.</summary>
    public VirtioBalloon? Balloon { get; private set; }

    /// <summary>The console and the ports; null where there are none.</summary>
    public VirtioConsole? Console { get; private set; }

    /// <summary>Is no request of the guest in flight on the host? On the loop's thread.</summary>
    public bool AreQuiet => backends.AreQuiet && _disks.TrueForAll(static disk => !disk.Device.HasRequests);

    /// <inheritdoc cref="VhostDevice.TryHold"/>
    public bool TryHoldPrograms(TimeSpan patience) => Programs.All(device => device.TryHold(patience));

    /// <inheritdoc cref="VhostDevice.Release"/>
    public void ReleasePrograms()
    {
        foreach (VhostDevice device in Programs)
        {
            device.Release();
        }
    }

    /// <summary>Devices that other programs serve.</summary>
    public IEnumerable<VhostDevice> Programs => backends.Served.OfType<VhostDevice>();

    private ulong RingFeatures => VirtioFeatures.Default | (spec.Packed ? VirtioFeatures.RingPacked : 0);

    /// <summary>Makes the devices, in the order in which the guest finds them. Once, before the loop starts.</summary>
    /// <exception cref="UsageException">There are more than fit.</exception>
    public void PlugInto(IVirtioSlots slots)
    {
        for (int i = 0; i < backends.Disks.Count; i++)
        {
            OpenDisk disk = backends.Disks[i];
            var block = new VirtioBlock($"virtio-blk{i}", disk.Backend, disk.Options) { RingFeatures = RingFeatures };
            slots.Plug(block);
            _disks.Add((block, disk));
        }

        for (int i = 0; i < backends.Nets.Count; i++)
        {
            var card = new VirtioNet($"virtio-net{i}", backends.Nets[i].Backend, backends.Nets[i].Options, _time) { RingFeatures = RingFeatures };
            slots.Plug(card);
            _nets.Add(card);
        }

        if (spec.Rng)
        {
            slots.Plug(new VirtioRng("virtio-rng0", new SystemEntropy(), RngBytesPerSecond, _time) { RingFeatures = RingFeatures });
        }

        if (backends.Sockets is { } sockets)
        {
            Vsock = new VirtioVsock("virtio-vsock0", sockets, spec.Vsock?.Cid ?? VsockSpec.LeastCid) { RingFeatures = RingFeatures };
            slots.Plug(Vsock);
        }

        if (console is not null || backends.Ports.Count > 0)
        {
            Console = new VirtioConsole("virtio-console0", [console, .. backends.Ports]) { RingFeatures = RingFeatures };
            slots.Plug(Console);
        }

        if (spec.Balloon)
        {
            Balloon = new VirtioBalloon("virtio-balloon0", ram.Memory, ram, _time) { RingFeatures = RingFeatures };
            slots.Plug(Balloon);
        }

        foreach (VirtioDevice served in backends.Served)
        {
            slots.Plug(served);
        }
    }

    /// <summary>Keeps the ephemeral overlays for the machine that replaces this one. After the backends were closed.</summary>
    public void KeepOverlays(CarriedState next)
    {
        for (int i = 0; i < _disks.Count; i++)
        {
            if (spec.Disks[i].Ephemeral && _disks[i].Disk.Backend.File is HostFile file)
            {
                next.Overlays[i] = file.Duplicate();
            }
        }
    }

    /// <inheritdoc cref="Machine.ReplaceOverlays"/>
    public void ReplaceOverlays(CarriedState overlays)
    {
        for (int i = 0; i < _disks.Count; i++)
        {
            if (spec.Disks[i].Ephemeral)
            {
                OpenDisk disk = backends.ReplaceDisk(i, spec.Disks[i], overlays.TakeOverlay(i), _disks[i].Device.Replace);
                _disks[i] = (_disks[i].Device, disk);
            }
        }
    }

    public void Dispose() => _time.Dispose();
}

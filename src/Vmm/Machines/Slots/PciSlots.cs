using Vmm.Assist;
using Vmm.Backends.VhostUser;
using Vmm.Boot;
using Vmm.Devices.Bus;
using Vmm.Devices.Memory;
using Vmm.Devices.Pci;
using Vmm.Devices.State;
using Vmm.Devices.Virtio;
using Vmm.Devices.Virtio.Transport;
using Vmm.Devices.Virtio.Vhost;
using Vmm.Host;
using Vmm.Kvm;

namespace Vmm.Machines.Slots;

/// <summary>Plugs virtio devices into PCI bus 0. With MSI-X a request costs one ioeventfd and one irqfd, and no exit
/// to user space.</summary>
internal sealed class PciSlots : IVirtioSlots
{
    // The four INTx lines are the IOAPIC's pins behind the ISA ones.
    private const int FirstIntxGsi = 16;
    private const int IntxLines = 4;

    private readonly KvmVm _vm;
    private readonly EventLoop _loop;
    private readonly GuestMemory _memory;
    private readonly IDeviceLog _log;
    private readonly uint _notifyLength;
    private readonly GsiRouter _router;
    private readonly SharedInterruptLine[] _intx = new SharedInterruptLine[IntxLines];
    private readonly List<PciInterrupt> _interrupts = [];
    private readonly List<IDisposable> _owned = [];
    private readonly PciBus _bus;
    private readonly PciConfigPorts _configPorts;
    private int _nextSlot = 1;

    /// <param name="anyLength">KVM_CAP_IOEVENTFD_ANY_LENGTH: lets KVM on VT-x skip decoding the instruction.</param>
    public PciSlots(
        KvmVm vm,
        EventLoop loop,
        AddressBus ports,
        AddressBus mmio,
        GuestMemory memory,
        IDeviceLog log,
        bool anyLength)
    {
        _vm = vm;
        _loop = loop;
        _memory = memory;
        _log = log;
        _notifyLength = anyLength ? 0u : sizeof(ushort);
        _router = new GsiRouter(vm);
        for (int line = 0; line < IntxLines; line++)
        {
            _intx[line] = new SharedInterruptLine(new IrqLine(vm, (uint)(FirstIntxGsi + line)));
        }

        _bus = new PciBus(mmio, IsInWindow);
        _configPorts = new PciConfigPorts(_bus);
        _configPorts.AddTo(ports);
        mmio.Add(Layout.PciEcam, PciEcam.WindowLength, new PciEcam(_bus));
    }

    /// <summary>The routes of INTx pins, for the ACPI and MP tables.</summary>
    public IReadOnlyList<PciInterrupt> Interrupts => _interrupts;

    public void Plug(VirtioDevice device)
    {
        if (_nextSlot == PciBus.SlotCount)
        {
            throw new UsageException(
                $"{device.Name}: PCI supports {PciBus.SlotCount - 1} devices; --transport mmio supports more");
        }

        int slot = _nextSlot++;
        int line = slot % IntxLines;
        int gsi = FirstIntxGsi + line;
        _interrupts.Add(new PciInterrupt(slot, Pin: 0, gsi));

        var events = new QueueEvents(_loop, device);
        _owned.Add(events);
        var vectors = new MsiVector[events.Count + 1];
        for (int i = 0; i < vectors.Length; i++)
        {
            vectors[i] = new MsiVector(_vm, _router);
            _owned.Add(vectors[i]);
        }

        var transport = new VirtioPciTransport(
            device, _memory, vectors, _intx[line].Connect(), (byte)gsi, events, _log);
        if (device is VhostDevice { Backend: VhostUserBackend backend })
        {
            var direct = new DirectInterrupts(backend.Calls, vectors, transport.VectorOf);
            transport.VectorChanged += direct.Follow;
        }

        transport.Window.Moved += (from, to) => MoveNotifications(events, from, to);
        _bus.Add(slot, transport);
    }

    /// <summary>Assigns an address to every window, once all devices are plugged in.</summary>
    public void AssignWindows() => _bus.AssignBars(Layout.PciWindow32, Layout.PciWindow32Size);

    public void Save(StateWriter state)
    {
        state.Version(1);
        state.Write("configPorts", _configPorts);
        state.Write("bus", _bus);
    }

    public void Load(StateReader state)
    {
        state.Version(1);
        state.Read("configPorts", _configPorts);
        state.Read("bus", _bus);
    }

    public void Dispose()
    {
        for (int i = _owned.Count - 1; i >= 0; i--)
        {
            _owned[i].Dispose();
        }
    }

    /// <summary>The guest may put a window anywhere except on RAM and on addresses that KVM itself handles.</summary>
    private bool IsInWindow(ulong start, ulong length)
    {
        if (start is >= Layout.PciWindow32 and < Layout.SyscallLanding && length <= Layout.SyscallLanding - start)
        {
            return true;
        }

        ulong afterMemory = Math.Max(Layout.FourGib, _memory.Regions[^1].End.Value);
        return start >= afterMemory;
    }

    private void MoveNotifications(QueueEvents events, ulong? from, ulong? to)
    {
        for (int queue = 0; queue < events.Count; queue++)
        {
            ulong offset = VirtioPciTransport.NotifyOffset(queue);
            if (from is { } old)
            {
                _vm.RemoveIoEventFd(events[queue], old + offset, _notifyLength, value: null);
            }

            if (to is { } now)
            {
                _vm.AddIoEventFd(events[queue], now + offset, _notifyLength, value: null);
            }
        }
    }
}

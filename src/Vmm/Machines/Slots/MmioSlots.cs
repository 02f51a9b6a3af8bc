using System.Globalization;
using Vmm.Boot;
using Vmm.Boot.Acpi;
using Vmm.Devices.Bus;
using Vmm.Devices.Memory;
using Vmm.Devices.State;
using Vmm.Devices.Virtio;
using Vmm.Devices.Virtio.Transport;
using Vmm.Host;
using Vmm.Kvm;

namespace Vmm.Machines.Slots;

/// <summary>Plugs virtio devices into the memory bus, one page each, and tells the kernel where they are.</summary>
/// <remarks>Interrupts are edges on the IOAPIC's ISA pins that no legacy device here uses. With more devices than pins
/// they share: every edge makes Linux ask all drivers on the line.</remarks>
internal sealed class MmioSlots(KvmVm vm, EventLoop loop, AddressBus bus, GuestMemory memory, IDeviceLog log)
    : IVirtioSlots
{
    // Without 0 timer, 1 keyboard, 2 cascade, 3 and 4 serial, 8 clock, 9 ACPI, 13 coprocessor. 12 is a PS/2 mouse's,
    // 6 a floppy drive's: Linux may probe for them, so they come last.
    private static readonly uint[] Pins = [5, 7, 10, 11, 14, 15, 6, 12];

    private readonly List<IDisposable> _owned = [];
    private readonly List<string> _parameters = [];
    private readonly List<AcpiVirtioMmio> _devices = [];
    private readonly List<VirtioMmioTransport> _transports = [];

    /// <summary>For the kernel's command line, one for each device: <c>virtio_mmio.device=4K@0xd1000000:5</c>
    /// (Linux, Documentation/admin-guide/kernel-parameters.txt).</summary>
    public IReadOnlyList<string> Parameters => _parameters;

    /// <summary>For the ACPI tables.</summary>
    public IReadOnlyList<AcpiVirtioMmio> Devices => _devices;

    public void Plug(VirtioDevice device)
    {
        ulong start = Layout.VirtioMmio + ((ulong)_parameters.Count * Layout.VirtioMmioStride);
        if (start + Layout.VirtioMmioStride > Layout.VirtioMmio + Layout.VirtioMmioSize)
        {
            throw new UsageException($"{device.Name}: more devices than the mmio transport supports ({_parameters.Count})");
        }

        uint pin = Pins[_parameters.Count % Pins.Length];
        var interrupt = new IrqFdTrigger(vm, pin);
        _owned.Add(interrupt);
        var events = new QueueEvents(loop, device);
        _owned.Add(events);
        var transport = new VirtioMmioTransport(device, memory, interrupt, events, log);
        bus.Add(start, Layout.VirtioMmioStride, transport);
        _transports.Add(transport);
        for (int queue = 0; queue < events.Count; queue++)
        {
            vm.AddIoEventFd(events[queue], start + VirtioMmioTransport.QueueNotifyOffset, sizeof(uint), (ulong)queue);
        }

        _devices.Add(new AcpiVirtioMmio((uint)start, (uint)Layout.VirtioMmioStride, (int)pin));
        _parameters.Add(string.Create(
            CultureInfo.InvariantCulture, $"virtio_mmio.device={Layout.VirtioMmioStride >> 10}K@0x{start:x}:{pin}"));
    }

    public void Save(StateWriter state)
    {
        state.Version(1);
        state.Write("devices", _transports, static (fields, transport) => transport.Save(fields));
    }

    public void Load(StateReader state)
    {
        state.Version(1);
        StateReader[] devices = state.List("devices", _transports.Count, _transports.Count);
        for (int i = 0; i < devices.Length; i++)
        {
            _transports[i].Load(devices[i]);
            devices[i].End();
        }
    }

    public void StopWaiting() => _transports.ForEach(static transport => transport.StopWaiting());

    public void Dispose()
    {
        for (int i = _owned.Count - 1; i >= 0; i--)
        {
            _owned[i].Dispose();
        }
    }
}

using System.Buffers.Binary;
using Vmm.Boot;
using Vmm.Boot.Acpi;
using Vmm.Devices.Bus;
using Vmm.Devices.State;
using Vmm.Devices.Virtio;
using Vmm.Devices.Virtio.Rng;
using Vmm.Host;
using Vmm.Kvm;
using Vmm.Machines;
using Vmm.Machines.Slots;
using Vmm.Tests.Shared;

namespace Vmm.Tests.Kvm;

/// <summary>Where devices are plugged in: addresses, interrupts, and how many there is room for.</summary>
public sealed class SlotsTests : IDeviceLog, IDisposable
{
    private readonly AddressBus _ports = new("port"), _mmio = new("mmio");
    private readonly EventLoop _loop = new();
    private readonly GuestRam _ram = new(MachineSpec.MinimumMemory);
    private readonly LoopTime _time;
    private KvmSystem? _kvm;
    private KvmVm? _vm;

    public SlotsTests() => _time = new LoopTime(_loop);

    public void Dispose()
    {
        _time.Dispose();
        _loop.Dispose();
        _vm?.Dispose();
        _kvm?.Dispose();
        _ram.Dispose();
    }

    [KvmFact]
    public void PCI_devices_take_the_slots_in_order_and_the_four_lines_in_turn()
    {
        using PciSlots slots = Pci();
        for (int i = 0; i < 6; i++)
        {
            slots.Plug(Device(i));
        }

        // IOAPIC pins 16 to 19; slot 0 is the host bridge.
        Assert.Equal([(1, 17), (2, 18), (3, 19), (4, 16), (5, 17), (6, 18)], slots.Interrupts.Select(static each => (each.Device, each.Gsi)));
        Assert.All(Enumerable.Range(1, 6), slot => Assert.Equal(0x1044_1af4u, Config(slot, 0)));       // virtio-rng, virtio 1.2, 4.1.2
        Assert.Equal(uint.MaxValue, Config(7, 0));
    }

    [KvmFact]
    public void PCI_windows_are_apart_and_within_what_the_tables_say()
    {
        using PciSlots slots = Pci();
        for (int i = 0; i < 31; i++)
        {
            slots.Plug(Device(i));
        }

        slots.AssignWindows();
        var taken = new SortedDictionary<ulong, ulong>();
        for (int slot = 1; slot < 32; slot++)
        {
            for (int bar = 0x10; bar < 0x28; bar += 4)
            {
                uint value = Config(slot, bar);
                if ((value & ~0xfu) == 0)
                {
                    continue;
                }

                // Its length is what can be set of it (PCI 3.0, 6.2.5.1).
                SetConfig(slot, bar, uint.MaxValue);
                ulong length = ~(Config(slot, bar) & ~0xfu) + 1u;
                SetConfig(slot, bar, value);
                taken.Add(value & ~0xfu, length);
                bar += (value & 6) == 4 ? 4 : 0;        // 64 bits
            }
        }

        Assert.True(taken.Count >= 31, $"{taken.Count} windows");
        ulong end = Layout.PciWindow32;
        foreach ((ulong start, ulong length) in taken)
        {
            Assert.True(start >= end && start % length == 0, $"0x{start:x}: the one before ends at 0x{end:x}");
            end = start + length;
        }

        Assert.True(end <= Layout.PciWindow32 + Layout.PciWindow32Size);
    }

    [KvmFact]
    public void PCI_takes_31_devices_and_reports_the_alternative()
    {
        using PciSlots slots = Pci();
        for (int i = 0; i < 31; i++)
        {
            slots.Plug(Device(i));
        }

        Assert.Equal(
            "rng31: PCI supports 31 devices; --transport mmio supports more",
            Assert.Throws<UsageException>(() => slots.Plug(Device(31))).Message);
    }

    [KvmFact]
    public void Mmio_devices_have_a_page_each_and_share_pins_when_there_are_more()
    {
        using MmioSlots slots = Mmio();
        for (int i = 0; i < 10; i++)
        {
            slots.Plug(Device(i));
        }

        Assert.Equal("virtio_mmio.device=4K@0xd1000000:5", slots.Parameters[0]);
        Assert.Equal([5, 7, 10, 11, 14, 15, 6, 12, 5, 7], slots.Devices.Select(static each => each.Gsi));
        Assert.Equal(10, slots.Devices.Select(static each => each.Base).Distinct().Count());
        foreach (AcpiVirtioMmio each in slots.Devices)
        {
            Assert.Equal(0x7472_6976u, Read(each.Base));                  // MagicValue
            Assert.Equal(4u, Read(each.Base + 8));                        // DeviceID: entropy
        }
    }

    [KvmFact]
    public void Mmio_takes_256_devices_and_reports_the_limit()
    {
        using MmioSlots slots = Mmio();
        for (int i = 0; i < 256; i++)
        {
            slots.Plug(Device(i));
        }

        Assert.Contains("(256)", Assert.Throws<UsageException>(() => slots.Plug(Device(256))).Message, StringComparison.Ordinal);
    }

    /// <summary>What a driver has set is there again in slots of the same devices; a state of fewer is refused.</summary>
    [KvmTheory]
    [InlineData(true)]
    [InlineData(false)]
    public void Slots_are_saved_and_loaded(bool pci)
    {
        byte[] state;
        using (IVirtioSlots slots = pci ? Pci() : Mmio())
        {
            slots.Plug(Device(0));
            slots.Plug(Device(1));
            SetStatus(pci, 3);
            state = StateWriter.Save(slots);
        }

        var other = new SlotsTests();
        using (IVirtioSlots slots = pci ? other.Pci() : other.Mmio())
        {
            slots.Plug(other.Device(0));
            slots.Plug(other.Device(1));
            StateReader.Load(state, "slots", slots);
            Assert.Equal(state, StateWriter.Save(slots));
        }

        other.Dispose();
        var less = new SlotsTests();
        using (IVirtioSlots slots = pci ? less.Pci() : less.Mmio())
        {
            slots.Plug(less.Device(0));
            Assert.StartsWith("slots", Assert.Throws<StateException>(() => StateReader.Load(state, "slots", slots)).Field, StringComparison.Ordinal);
        }

        less.Dispose();
    }

    void IDeviceLog.Warn(string device, string message) => Assert.Fail($"{device}: {message}");

    private void SetStatus(bool pci, uint status)
    {
        if (pci)
        {
            SetConfig(1, 0x3c, 11);             // the interrupt line, which is the guest's to write
        }
        else
        {
            byte[] bytes = new byte[4];
            BinaryPrimitives.WriteUInt32LittleEndian(bytes, status);
            _mmio.Write(Layout.VirtioMmio + 0x70, bytes);
        }
    }

    private PciSlots Pci() => new(Vm(), _loop, _ports, _mmio, _ram.Memory, this, anyLength: false);

    private MmioSlots Mmio() => new(Vm(), _loop, _mmio, _ram.Memory, this);

    private KvmVm Vm()
    {
        _kvm = KvmSystem.Open();
        _vm = _kvm.CreateVm();
        _vm.CreateInterruptControllers();
        return _vm;
    }

    private VirtioRng Device(int number) => new($"rng{number}", new SystemEntropy(), 1 << 20, _time);

    private uint Read(ulong address)
    {
        byte[] bytes = new byte[4];
        _mmio.Read(address, bytes);
        return BinaryPrimitives.ReadUInt32LittleEndian(bytes);
    }

    private void Select(int slot, int register)
    {
        byte[] bytes = new byte[4];
        BinaryPrimitives.WriteUInt32LittleEndian(bytes, 0x8000_0000 | ((uint)slot << 11) | (uint)register);
        _ports.Write(0xcf8, bytes);
    }

    private uint Config(int slot, int register)
    {
        Select(slot, register);
        byte[] bytes = new byte[4];
        _ports.Read(0xcfc, bytes);
        return BinaryPrimitives.ReadUInt32LittleEndian(bytes);
    }

    private void SetConfig(int slot, int register, uint value)
    {
        Select(slot, register);
        byte[] bytes = new byte[4];
        BinaryPrimitives.WriteUInt32LittleEndian(bytes, value);
        _ports.Write(0xcfc, bytes);
    }
}

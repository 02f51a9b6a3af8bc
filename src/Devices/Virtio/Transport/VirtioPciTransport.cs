using System.Buffers.Binary;
using Vmm.Devices.Bus;
using Vmm.Devices.Memory;
using Vmm.Devices.Pci;
using Vmm.Devices.State;

namespace Vmm.Devices.Virtio.Transport;

/// <summary>A virtio device as a PCI function (virtio 1.2, section 4.1; not transitional).</summary>
/// <remarks>
/// One window of 16 KiB, of 32 bits (any guest can reach it), holds everything:
/// <code>
/// 0000 common configuration   0040 ISR status   0100 device configuration
/// 1000 notifications, 4 bytes a queue           2000 MSI-X table          3000 MSI-X pending bits
/// </code>
/// Registers read at any width; they are written at the width that they have, or not at all (4.1.3.1).
/// </remarks>
public sealed class VirtioPciTransport : PciFunction, IBusDevice, IVirtioInterrupts
{
    /// <summary>Where notifications start in the window.</summary>
    private const ulong NotifyStart = 0x1000;

    /// <summary>notify_off_multiplier: bytes from one queue's notification address to the next.</summary>
    private const uint NotifyStride = 4;

    private const int WindowIndex = 0;
    private const ulong WindowSize = 0x4000, Page = 0x1000;
    private const uint CommonLength = VirtioPciCommon.Length, IsrStart = 0x40, IsrLength = 4, ConfigStart = 0x100;
    private const uint TableStart = 0x2000, PendingStart = 0x3000;
    private const int MostQueues = (int)(Page / NotifyStride);

    private const byte VendorCapability = 0x09;
    private const byte CommonCfg = 1, NotifyCfg = 2, IsrCfg = 3, DeviceCfg = 4, PciCfg = 5;     // cfg_type
    private const int CapabilityLength = 16, LongCapabilityLength = 20;

    // The queues' addresses have 64 bits and are mostly written in halves.
    private const ulong UpperDesc = (ulong)PciCommonRegister.queue_desc + 4;
    private const ulong UpperDriver = (ulong)PciCommonRegister.queue_driver + 4;
    private const ulong UpperDevice = (ulong)PciCommonRegister.queue_device + 4;

    private const int UsedBuffer = 1, ConfigurationChange = 2;                                  // ISR status

    private readonly CommonConfiguration _common;
    private readonly VirtioPciCommon _registers;
    private readonly Msix _msix;
    private readonly IntxPin _pin;
    private readonly int _msixCapability, _pciCfg;

    /// <param name="device">Not plugged in anywhere else.</param>
    /// <param name="memory">The guest's memory.</param>
    /// <param name="vectors">1 to 256. With one more than the device has queues, Linux gives each its own.</param>
    /// <param name="interruptPin">INTA#, for guests without MSI-X.</param>
    /// <param name="interruptLine">What the Interrupt Line register says at first: the IRQ for guests without ACPI.</param>
    /// <param name="notifier">Takes notifications that no ioeventfd caught to the event-loop thread.</param>
    /// <param name="log">Where faults of the driver are reported.</param>
    public VirtioPciTransport(
        VirtioDevice device, GuestMemory memory, ReadOnlySpan<IMsiVector> vectors, IInterruptLine interruptPin,
        byte interruptLine, IQueueNotifier notifier, IDeviceLog log)
        : base(device.Name, VirtioPciIdentity.Of(device))
    {
        if (device.QueueSizes.Length > MostQueues || device.ConfigLength > (int)(Page - ConfigStart))
        {
            throw new ArgumentException($"{device.Name}: more queues or configuration than a PCI window has room for");
        }

        _msix = new Msix(vectors);
        _pin = new IntxPin(interruptPin);
        _common = new CommonConfiguration(device, memory, this, notifier, log);
        _registers = new VirtioPciCommon(_common, _msix.Count, queue => VectorChanged?.Invoke(queue));
        Window = AddBar(WindowIndex, WindowSize, is64Bit: false, isPrefetchable: false, this);
        Config.Set8(PciConfigSpace.InterruptPin, 1);
        Config.Set8(PciConfigSpace.InterruptLine, interruptLine);

        _msixCapability = Msix.AddCapability(Config, _msix.Count, WindowIndex, TableStart, PendingStart);
        AddStructure(CommonCfg, 0, CommonLength);
        AddStructure(IsrCfg, IsrStart, IsrLength);
        int notify = AddStructure(
            NotifyCfg, (uint)NotifyStart, NotifyStride * (uint)Math.Max(1, _common.QueueCount), LongCapabilityLength);
        Config.Set32(notify + CapabilityLength, NotifyStride);
        if (device.ConfigLength > 0)
        {
            AddStructure(DeviceCfg, ConfigStart, ((uint)device.ConfigLength + 3) & ~3u);
        }

        _pciCfg = AddStructure(PciCfg, 0, 0, LongCapabilityLength);
        Config.Allow32(_pciCfg + 4, 0xff);              // bar
        Config.Allow32(_pciCfg + 8, uint.MaxValue);     // offset
        Config.Allow32(_pciCfg + 12, uint.MaxValue);    // length
        Config.Allow32(_pciCfg + CapabilityLength, uint.MaxValue);
    }

    /// <summary>The window (BAR 0), which the guest may move; see <see cref="PciBar.Moved"/>.</summary>
    public PciBar Window { get; }

    /// <summary>The driver may have mapped a queue to another vector: <see cref="VectorOf"/> says which. Any thread, the device's gate
    /// may be held.</summary>
    public event Action<int>? VectorChanged;

    /// <summary>The MSI-X vector of a queue; null where it has none.</summary>
    public int? VectorOf(int queue) => _registers.QueueVector(queue) is var vector && vector < _msix.Count ? vector : null;

    /// <summary>Where in the window the driver writes to notify a queue, 16 bits wide with the queue's number as value;
    /// no other queue shares the address, so an ioeventfd there needs neither length nor datamatch.</summary>
    /// <param name="queue">0 to the number of queues - 1.</param>
    public static ulong NotifyOffset(int queue) => NotifyStart + ((ulong)queue * NotifyStride);

    /// <inheritdoc/>
    public void Read(ulong offset, Span<byte> data)
    {
        data.Clear();
        switch (offset)
        {
            case < CommonLength:
                _registers.Read((int)offset, data);
                break;
            case IsrStart:
                data[0] = (byte)_pin.Take();
                break;
            case >= ConfigStart and < NotifyStart:
                _common.ReadConfig(offset - ConfigStart, data);
                break;
            case >= TableStart and < PendingStart:
                _msix.ReadTable(offset - TableStart, data);
                break;
            case >= PendingStart:
                _msix.ReadPending(offset - PendingStart, data);
                break;
        }
    }

    /// <inheritdoc/>
    public void Write(ulong offset, ReadOnlySpan<byte> data)
    {
        switch (offset)
        {
            case < CommonLength:
                _registers.Write((PciCommonRegister)offset, data);
                break;
            case >= ConfigStart and < NotifyStart:
                _common.WriteConfig(offset - ConfigStart, data);
                break;
            case >= NotifyStart and < TableStart:
                _common.NotifyQueue((uint)(offset - NotifyStart) / NotifyStride);
                break;
            case >= TableStart and < PendingStart:
                _msix.WriteTable(offset - TableStart, data);
                break;
        }
    }

    /// <inheritdoc/>
    public string? RegisterName(ulong offset, bool write) => offset switch
    {
        UpperDesc or UpperDriver or UpperDevice => Enum.GetName((PciCommonRegister)(offset - 4)),
        < CommonLength => Enum.GetName((PciCommonRegister)offset),
        IsrStart => "ISR",
        >= ConfigStart and < NotifyStart => "config",
        >= NotifyStart and < TableStart => "notify",
        >= TableStart and < PendingStart => "MSI-X table",
        >= PendingStart => "MSI-X pending",
        _ => null,
    };

    /// <inheritdoc/>
    public override void Save(StateWriter state)
    {
        state.Version(1);
        base.Save(state);
        state.Write("msix", _msix);
        state.Write("isr", _pin.Reasons);
        _registers.Save(state);
        state.Write("virtio", _common);
    }

    /// <inheritdoc/>
    public override void Load(StateReader state)
    {
        state.Version(1);
        _common.ResetForLoad();
        base.Load(state);
        state.Read("msix", _msix);
        int isr = (int)state.Bits("isr", UsedBuffer | ConfigurationChange);
        _registers.Load(state);
        _msix.Restore(Config.Get16(_msixCapability + 2));
        _pin.Restore(isr, IsPinDisabled);
        state.Read("virtio", _common);
    }

    void IVirtioInterrupts.NotifyQueue(int queue) => Interrupt(_registers.QueueVector(queue), UsedBuffer);

    void IVirtioInterrupts.NotifyConfiguration() => Interrupt(_registers.ConfigVector, ConfigurationChange);

    void IVirtioInterrupts.Reset()
    {
        _registers.UnmapVectors();
        _pin.Take();
    }

    protected internal override void ReadConfig(int offset, Span<byte> data)
    {
        int status = Config.Get16(PciConfigSpace.Status) & ~PciConfigSpace.StatusInterrupt;
        Config.Set16(PciConfigSpace.Status, (ushort)(status | (_pin.IsRaised ? PciConfigSpace.StatusInterrupt : 0)));
        if (IsPciCfgData(offset, data.Length) && TryGetPciCfgTarget(out uint target, out int length))
        {
            Span<byte> value = stackalloc byte[4];
            Read(target, value[..length]);
            Config.Set32(_pciCfg + CapabilityLength, BinaryPrimitives.ReadUInt32LittleEndian(value));
        }

        base.ReadConfig(offset, data);
    }

    protected internal override void WriteConfig(int offset, ReadOnlySpan<byte> data)
    {
        base.WriteConfig(offset, data);
        _msix.SetControl(Config.Get16(_msixCapability + 2));
        _pin.SetDisabled(IsPinDisabled);
        if (IsPciCfgData(offset, data.Length) && TryGetPciCfgTarget(out uint target, out int length))
        {
            Span<byte> value = stackalloc byte[4];
            BinaryPrimitives.WriteUInt32LittleEndian(value, Config.Get32(_pciCfg + CapabilityLength));
            Write(target, value[..length]);
        }
    }

    private bool IsPinDisabled =>
        (Config.Get16(PciConfigSpace.Command) & PciConfigSpace.CommandInterruptDisable) != 0 || _msix.IsEnabled;

    private int AddStructure(byte type, uint offset, uint length, int capabilityLength = CapabilityLength)
    {
        int start = Config.AddCapability(VendorCapability, capabilityLength);
        Config.Set8(start + 2, (byte)capabilityLength);
        Config.Set8(start + 3, type);
        Config.Set8(start + 4, WindowIndex);
        Config.Set32(start + 8, offset);
        Config.Set32(start + 12, length);
        return start;
    }

    /// <summary>Section 4.1.4.9: pci_cfg_data gives access to the window without mapping it.</summary>
    private bool IsPciCfgData(int offset, int length) =>
        offset < _pciCfg + LongCapabilityLength && offset + length > _pciCfg + CapabilityLength;

    private bool TryGetPciCfgTarget(out uint offset, out int length)
    {
        offset = Config.Get32(_pciCfg + 8);
        uint wanted = Config.Get32(_pciCfg + 12);
        length = (int)wanted;
        return wanted is 1 or 2 or 4 && Config.Get8(_pciCfg + 4) == WindowIndex && offset % wanted == 0
            && offset <= (uint)WindowSize - wanted;
    }

    private void Interrupt(ushort vector, int reason)
    {
        if (_msix.IsEnabled)
        {
            _msix.Trigger(vector);                      // VIRTIO_MSI_NO_VECTOR is none of the table's
        }
        else
        {
            _pin.Raise(reason);
        }
    }
}

using System.Buffers.Binary;
using Vmm.Devices.Bus;
using Vmm.Devices.Memory;
using Vmm.Devices.State;

namespace Vmm.Devices.Virtio.Transport;

/// <summary>A virtio device behind memory-mapped registers (virtio 1.2, section 4.2, version 2).</summary>
/// <remarks>Control registers answer to aligned accesses of 32 bits only (4.2.2.2); others read as zero and write
/// nothing, as do undefined offsets. Reading InterruptStatus, writing InterruptACK and writing QueueNotify take no
/// lock.</remarks>
public sealed class VirtioMmioTransport : IBusDevice, IVirtioInterrupts, ISavedState
{
    /// <summary>Bytes of address space: registers, and 256 bytes of configuration space.</summary>
    public const ulong WindowLength = 0x200;

    /// <summary>Where in the window queue numbers are written, 32 bits wide: for KVM_IOEVENTFD with datamatch.</summary>
    public const ulong QueueNotifyOffset = (ulong)MmioRegister.QueueNotify;

    private const uint Magic = 0x7472_6976;         // "virt"
    private const uint Vendor = 0x4d4d_5648;        // "HVMM"
    private const int UsedBuffer = 1;
    private const int ConfigurationChange = 2;

    private readonly VirtioDevice _device;
    private readonly CommonConfiguration _common;
    private readonly IInterruptTrigger _interrupt;
    private readonly bool _waitsForResets;
    private int _interruptStatus;

    /// <param name="device">Not plugged in anywhere else.</param>
    /// <param name="memory">The guest's memory.</param>
    /// <param name="interrupt">An edge per notification.</param>
    /// <param name="notifier">Takes notifications that no ioeventfd caught to the event-loop thread.</param>
    /// <param name="log">Where faults of the driver are reported.</param>
    /// <param name="waitsForResets">Does a reset by the driver hold the vCPU up while requests are in flight? Linux
    /// resets with one write, does not look at Status, and then uses the buffers' memory for something else; a request
    /// that the host is still working on would write there. So the vCPU that resets waits (the others run). If the
    /// host's I/O hangs for ever, that vCPU hangs with it until the machine ends (<see cref="StopWaiting"/>). False
    /// for drivers that look.</param>
    public VirtioMmioTransport(
        VirtioDevice device, GuestMemory memory, IInterruptTrigger interrupt, IQueueNotifier notifier, IDeviceLog log,
        bool waitsForResets = true)
    {
        _device = device;
        _interrupt = interrupt;
        _waitsForResets = waitsForResets;
        _common = new CommonConfiguration(device, memory, this, notifier, log);
    }

    /// <inheritdoc/>
    public string Name => _device.Name;

    /// <inheritdoc cref="CommonConfiguration.StopWaiting"/>
    public void StopWaiting() => _common.StopWaiting();

    /// <inheritdoc/>
    public void Read(ulong offset, Span<byte> data)
    {
        if (offset >= (ulong)MmioRegister.Config)
        {
            _common.ReadConfig(offset - (ulong)MmioRegister.Config, data);
            return;
        }

        data.Clear();
        if (data.Length == 4 && offset % 4 == 0)
        {
            BinaryPrimitives.WriteUInt32LittleEndian(data, ReadRegister((MmioRegister)offset));
        }
    }

    /// <inheritdoc/>
    public void Write(ulong offset, ReadOnlySpan<byte> data)
    {
        if (offset >= (ulong)MmioRegister.Config)
        {
            _common.WriteConfig(offset - (ulong)MmioRegister.Config, data);
        }
        else if (data.Length == 4 && offset % 4 == 0)
        {
            WriteRegister((MmioRegister)offset, BinaryPrimitives.ReadUInt32LittleEndian(data));
        }
    }

    /// <inheritdoc/>
    public string? RegisterName(ulong offset, bool write) =>
        offset >= (ulong)MmioRegister.Config ? nameof(MmioRegister.Config) : Enum.GetName((MmioRegister)offset);

    /// <inheritdoc/>
    public void Save(StateWriter state)
    {
        state.Version(1);
        state.Write("interruptStatus", Volatile.Read(ref _interruptStatus));
        state.Write("virtio", _common);
    }

    /// <inheritdoc/>
    public void Load(StateReader state)
    {
        state.Version(1);
        _common.ResetForLoad();
        Volatile.Write(ref _interruptStatus, (int)state.Bits("interruptStatus", UsedBuffer | ConfigurationChange));
        state.Read("virtio", _common);
    }

    void IVirtioInterrupts.NotifyQueue(int queue) => Interrupt(UsedBuffer);

    void IVirtioInterrupts.NotifyConfiguration() => Interrupt(ConfigurationChange);

    void IVirtioInterrupts.Reset() => Volatile.Write(ref _interruptStatus, 0);

    private void Interrupt(int reason)
    {
        // Status first, then the edge: the handler finds the reason. An edge for each, even while the reason still
        // stands: an edge that came while the line was masked is lost, and the next one replaces it.
        Interlocked.Or(ref _interruptStatus, reason);
        _interrupt.Trigger();
    }

    private uint ReadRegister(MmioRegister register) => register switch
    {
        MmioRegister.MagicValue => Magic,
        MmioRegister.Version => 2,
        MmioRegister.DeviceID => _device.DeviceId,
        MmioRegister.VendorID => Vendor,
        MmioRegister.DeviceFeatures => _common.DeviceFeatures,
        MmioRegister.QueueNumMax => _common.QueueMaxSize,
        MmioRegister.QueueReady => _common.QueueEnable ? 1u : 0u,
        MmioRegister.InterruptStatus => (uint)Volatile.Read(ref _interruptStatus),
        MmioRegister.Status => _common.Status,
        MmioRegister.QueueReset => _common.QueueReset ? 1u : 0u,
        MmioRegister.ConfigGeneration => _common.ConfigGeneration,

        // 4.2.2.1: a shared memory region that does not exist has a length (and here a base) of all ones.
        MmioRegister.SHMLenLow or MmioRegister.SHMLenHigh or MmioRegister.SHMBaseLow or MmioRegister.SHMBaseHigh =>
            uint.MaxValue,
        _ => 0,
    };

    private void WriteRegister(MmioRegister register, uint value)
    {
        switch (register)
        {
            case MmioRegister.DeviceFeaturesSel:
                _common.DeviceFeaturesSelect = value;
                break;
            case MmioRegister.DriverFeatures:
                _common.DriverFeatures = value;
                break;
            case MmioRegister.DriverFeaturesSel:
                _common.DriverFeaturesSelect = value;
                break;
            case MmioRegister.QueueSel:
                _common.QueueSelect = value;
                break;
            case MmioRegister.QueueNum:
                _common.QueueSize = value;
                break;
            case MmioRegister.QueueReady when value == 1:
                _common.EnableQueue();
                break;
            case MmioRegister.QueueReady when value == 0:
                _common.ResetQueue(byRingReset: false);
                WaitForReset();
                break;
            case MmioRegister.QueueReset when value == 1:
                _common.ResetQueue(byRingReset: true);
                WaitForReset();
                break;
            case MmioRegister.QueueNotify:
                _common.NotifyQueue(value);
                break;
            case MmioRegister.InterruptACK:
                Interlocked.And(ref _interruptStatus, ~(int)value);
                break;
            case MmioRegister.Status:
                _common.Status = value;
                if (value == 0)
                {
                    WaitForReset();
                }

                break;
            case MmioRegister.QueueDescLow:
                _common.QueueDescriptorArea = WithLow(_common.QueueDescriptorArea, value);
                break;
            case MmioRegister.QueueDescHigh:
                _common.QueueDescriptorArea = WithHigh(_common.QueueDescriptorArea, value);
                break;
            case MmioRegister.QueueDriverLow:
                _common.QueueDriverArea = WithLow(_common.QueueDriverArea, value);
                break;
            case MmioRegister.QueueDriverHigh:
                _common.QueueDriverArea = WithHigh(_common.QueueDriverArea, value);
                break;
            case MmioRegister.QueueDeviceLow:
                _common.QueueDeviceArea = WithLow(_common.QueueDeviceArea, value);
                break;
            case MmioRegister.QueueDeviceHigh:
                _common.QueueDeviceArea = WithHigh(_common.QueueDeviceArea, value);
                break;
            default:
                break;      // read-only or undefined
        }
    }

    private void WaitForReset()
    {
        if (_waitsForResets)
        {
            _common.WaitForReset();
        }
    }

    private static ulong WithLow(ulong address, uint low) => (address & 0xffff_ffff_0000_0000) | low;

    private static ulong WithHigh(ulong address, uint high) => (address & 0xffff_ffff) | ((ulong)high << 32);
}

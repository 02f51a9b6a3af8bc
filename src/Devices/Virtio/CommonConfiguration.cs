using System.Diagnostics.CodeAnalysis;
using Vmm.Devices.Memory;

namespace Vmm.Devices.Virtio;

/// <summary>What the driver and any device agree on before the first buffer moves: device status, features, queues,
/// configuration generation (virtio 1.2, sections 2.1 to 2.6 and 3.1). A transport maps it to registers; the meaning of each is
/// here, once for all devices and transports.</summary>
/// <remarks>Registers are read and written on vCPU threads; each access takes the device's gate. A reset with requests
/// in flight ends when the last of them came back (until then the status reads as it was): the backend may be
/// writing into the guest's buffers, and the driver may use those for something else once the reset is done.</remarks>
public sealed partial class CommonConfiguration : IVirtqueueOwner
{
    /// <summary>A reset that takes longer is logged.</summary>
    private const int LongResetMilliseconds = 1000;

    private readonly VirtioDevice _device;
    private readonly IVirtioInterrupts _interrupts;
    private readonly IQueueNotifier _notifier;
    private readonly IDeviceLog _log;
    private readonly GuestMemory _memory;
    private readonly QueueConfiguration[] _configurations;
    private readonly Virtqueue[] _split;
    private readonly Virtqueue[] _packed;
    private readonly Virtqueue[] _current;
    private DeviceStatus _status;
    private ulong _driverFeatures;
    private bool _acceptedUnknown;      // the driver accepted a feature beyond bit 63
    private bool _resetting;            // a reset of the device waits for requests in flight
    private bool _stopping;
    private bool _waitsNoMore;
    private byte _generation;

    /// <summary>Plugs <paramref name="device"/> in.</summary>
    public CommonConfiguration(
        VirtioDevice device, GuestMemory memory, IVirtioInterrupts interrupts, IQueueNotifier notifier, IDeviceLog log)
    {
        _device = device;
        _memory = memory;
        _interrupts = interrupts;
        _notifier = notifier;
        _log = log;
        int count = device.QueueSizes.Length;
        _configurations = new QueueConfiguration[count];
        _split = new Virtqueue[count];
        _packed = new Virtqueue[count];
        for (int i = 0; i < count; i++)
        {
            _configurations[i] = new QueueConfiguration(device.QueueSizes[i]);
            _split[i] = new VirtqueueSplit(this, memory, i);
            _packed[i] = new VirtqueuePacked(this, memory, i);
        }

        _current = (Virtqueue[])_split.Clone();
        device.Attach(this);
    }

    /// <summary>num_queues.</summary>
    public int QueueCount => _configurations.Length;

    /// <summary>device_feature_select, DeviceFeaturesSel: which 32 bits <see cref="DeviceFeatures"/> shows.</summary>
    public uint DeviceFeaturesSelect { get; set; }

    /// <summary>driver_feature_select, DriverFeaturesSel.</summary>
    public uint DriverFeaturesSelect { get; set; }

    /// <summary>queue_select, QueueSel. Any value; a queue that does not exist reads as zero.</summary>
    public uint QueueSelect { get; set; }

    /// <summary>device_feature, DeviceFeatures.</summary>
    public uint DeviceFeatures => Half(_device.OfferedFeatures, DeviceFeaturesSelect);

    /// <summary>driver_feature, DriverFeatures. Writes after FEATURES_OK are ignored.</summary>
    public uint DriverFeatures
    {
        get => Half(Volatile.Read(ref _driverFeatures), DriverFeaturesSelect);
        set
        {
            lock (_device.Gate)
            {
                uint select = DriverFeaturesSelect;
                if (select > 1)
                {
                    // Bits 64 and up are never offered: one that is accepted all the same must cost FEATURES_OK.
                    _acceptedUnknown |= value != 0 && !Has(DeviceStatus.FeaturesOk);
                }
                else if (!_resetting && !Has(DeviceStatus.FeaturesOk))
                {
                    int shift = (int)select * 32;
                    _driverFeatures = (_driverFeatures & ~(0xffff_ffffUL << shift)) | ((ulong)value << shift);
                }
            }
        }
    }

    /// <summary>Features in force; zero before FEATURES_OK.</summary>
    public ulong NegotiatedFeatures => Has(DeviceStatus.FeaturesOk) ? _driverFeatures : 0;

    /// <summary>device_status, Status. Writing zero resets.</summary>
    public uint Status
    {
        get
        {
            lock (_device.Gate)
            {
                return (uint)_status;
            }
        }

        set
        {
            lock (_device.Gate)
            {
                WriteStatus(value);
            }
        }
    }

    /// <summary>config_generation, ConfigGeneration.</summary>
    public byte ConfigGeneration
    {
        get
        {
            lock (_device.Gate)
            {
                return _generation;
            }
        }
    }

    /// <summary>QueueNumMax, and queue_size before it is written: zero for a queue that does not exist.</summary>
    public uint QueueMaxSize => TrySelect(out int queue) ? _configurations[queue].MaxSize : 0;

    /// <summary>queue_size, QueueNum. Like the addresses it can be written while the queue is not enabled; it is
    /// checked when it is.</summary>
    public uint QueueSize
    {
        get => TrySelect(out int queue) ? _configurations[queue].Size : 0;
        set => Configure(value, static (queue, size) => queue.Size = (uint)size);
    }

    /// <summary>queue_desc, QueueDesc: descriptor table or packed ring.</summary>
    public ulong QueueDescriptorArea
    {
        get => TrySelect(out int queue) ? _configurations[queue].DescriptorArea.Value : 0;
        set => Configure(value, static (queue, address) => queue.DescriptorArea = new GuestAddress(address));
    }

    /// <summary>queue_driver, QueueDriver: available ring or driver event suppression.</summary>
    public ulong QueueDriverArea
    {
        get => TrySelect(out int queue) ? _configurations[queue].DriverArea.Value : 0;
        set => Configure(value, static (queue, address) => queue.DriverArea = new GuestAddress(address));
    }

    /// <summary>queue_device, QueueDevice: used ring or device event suppression.</summary>
    public ulong QueueDeviceArea
    {
        get => TrySelect(out int queue) ? _configurations[queue].DeviceArea.Value : 0;
        set => Configure(value, static (queue, address) => queue.DeviceArea = new GuestAddress(address));
    }

    /// <summary>queue_enable, QueueReady. Reads as set until a reset of the queue is done.</summary>
    public bool QueueEnable
    {
        get => TrySelect(out int queue) && _configurations[queue].IsEnabled;
    }

    /// <summary>queue_reset, QueueReset: reads as set while the reset waits for requests in flight.</summary>
    public bool QueueReset
    {
        get => TrySelect(out int queue) && _configurations[queue].IsResetting;
    }

    /// <summary>The driver wrote 1 to queue_enable or QueueReady. A queue that cannot be used stays disabled, and the
    /// device asks for a reset.</summary>
    public void EnableQueue()
    {
        lock (_device.Gate)
        {
            if (!TrySelect(out int index) || !Has(DeviceStatus.FeaturesOk) || Has(DeviceStatus.NeedsReset) || _resetting)
            {
                return;
            }

            if (_configurations[index].IsEnabled)
            {
                return;
            }

            if (TryEnable(index) is { } fault)
            {
                Fail(index, fault);
                return;
            }

            if (MayServe)
            {
                Start(index);
            }
        }
    }

    /// <summary>The driver wrote 1 to queue_reset or QueueReset (allowed with VIRTIO_F_RING_RESET), or 0 to the mmio
    /// transport's QueueReady (allowed always).</summary>
    public void ResetQueue(bool byRingReset)
    {
        lock (_device.Gate)
        {
            if (!TrySelect(out int index) || _resetting || !_configurations[index].IsEnabled
                || _configurations[index].IsResetting
                || (byRingReset && (NegotiatedFeatures & VirtioFeatures.RingReset) == 0))
            {
                return;
            }

            _configurations[index].IsResetting = true;
            Stop(index);
            if (_current[index].Outstanding == 0)
            {
                _configurations[index].Clear();
            }
        }
    }

    /// <summary>Waits until a reset of the device, or of the selected queue, is done; for transports whose drivers do not poll
    /// for it (Linux resets over mmio with one write). Does not wait after <see cref="StopWaiting"/>.</summary>
    public void WaitForReset()
    {
        lock (_device.Gate)
        {
            int patience = LongResetMilliseconds;
            while (!_waitsNoMore && IsResetPending())
            {
                if (!Monitor.Wait(_device.Gate, patience))
                {
                    _log.Warn(_device.Name, "the driver's reset waits for the host to finish requests in flight");
                    patience = Timeout.Infinite;
                }
            }
        }
    }

    /// <summary>Ends all waiting for resets, now and later: the machine ends. Any thread.</summary>
    public void StopWaiting()
    {
        lock (_device.Gate)
        {
            _waitsNoMore = true;
            Monitor.PulseAll(_device.Gate);
        }
    }

    /// <summary>Reads the device's configuration space; zero behind its end.</summary>
    public void ReadConfig(ulong offset, Span<byte> data)
    {
        data.Clear();
        lock (_device.Gate)
        {
            if (offset < (ulong)_device.ConfigLength)
            {
                int inside = (int)Math.Min((ulong)data.Length, (ulong)_device.ConfigLength - offset);
                _device.ReadConfig((int)offset, data[..inside]);
            }
        }
    }

    /// <summary>Writes to the device's configuration space; what does not lie in it wholly is ignored.</summary>
    public void WriteConfig(ulong offset, ReadOnlySpan<byte> data)
    {
        lock (_device.Gate)
        {
            ulong length = (ulong)_device.ConfigLength;
            if (!_resetting && offset < length && (ulong)data.Length <= length - offset)
            {
                _device.WriteConfig((int)offset, data);
            }
        }
    }

    /// <summary>The driver notified a queue by a register write: the event loop serves it. Values beyond the last queue are
    /// ignored.</summary>
    public void NotifyQueue(uint queue)
    {
        if (queue < (uint)QueueCount)
        {
            _notifier.Kick(_device, (int)queue);
        }
    }

    internal bool TryGetRunning(int index, [NotNullWhen(true)] out Virtqueue? queue)
    {
        queue = (uint)index < (uint)_current.Length ? _current[index] : null;
        return queue is { IsRunning: true };
    }

    internal bool TryGetQueue(int index, [NotNullWhen(true)] out Virtqueue? queue)
    {
        queue = (uint)index < (uint)_current.Length ? _current[index] : null;
        return queue is { HasRings: true };
    }

    internal void PublishAll()
    {
        foreach (Virtqueue queue in _current)
        {
            queue.Publish();
        }
    }

    /// <summary>Where the driver put the rings of a queue that is enabled.</summary>
    internal QueueConfiguration RingsOf(Virtqueue queue) => _configurations[queue.Index];

    /// <summary>Has the driver made no buffer of a split queue available since it enabled it (virtio 1.2, section 2.7.6: the index of
    /// the available ring)?</summary>
    internal bool IsUntouched(Virtqueue queue) =>
        _memory.TryRead(_configurations[queue.Index].DriverArea + sizeof(ushort), out ushort index) && index == 0;

    /// <summary>Has the used ring of a split queue, which another program writes, got to this entry (virtio 1.2, section 2.7.8)?</summary>
    internal bool HasUsed(Virtqueue queue, ushort entry) =>
        _memory.TryRead(_configurations[queue.Index].DeviceArea + sizeof(ushort), out ushort index) && index == entry;

    /// <summary>A used buffer notification.</summary>
    internal void Interrupt(Virtqueue queue) => _interrupts.NotifyQueue(queue.Index);

    internal void Kick(int queue) => _notifier.Kick(_device, queue);

    internal void ConfigChanged()
    {
        _generation++;
        if (Has(DeviceStatus.DriverOk))
        {
            _interrupts.NotifyConfiguration();
        }
    }

    private static uint Half(ulong features, uint select) => select switch
    {
        0 => (uint)features,
        1 => (uint)(features >> 32),
        _ => 0,
    };

    private bool Has(DeviceStatus bits) => (_status & bits) == bits;

    /// <returns>Null when the queue is enabled now, else what is wrong with it.</returns>
    private string? TryEnable(int index)
    {
        Virtqueue queue = ((NegotiatedFeatures & VirtioFeatures.RingPacked) != 0 ? _packed : _split)[index];
        string? fault = queue.Enable(_configurations[index], NegotiatedFeatures);
        if (fault is null)
        {
            _current[index] = queue;
            _configurations[index].IsEnabled = true;
        }

        return fault;
    }

    private bool IsResetPending() => _resetting || (TrySelect(out int queue) && _configurations[queue].IsResetting);

    private bool TrySelect(out int queue)
    {
        uint selected = QueueSelect;
        queue = (int)selected;
        return selected < (uint)_configurations.Length;
    }

    private void Configure(ulong value, Action<QueueConfiguration, ulong> set)
    {
        lock (_device.Gate)
        {
            if (TrySelect(out int queue) && !_configurations[queue].IsEnabled && !_resetting)
            {
                set(_configurations[queue], value);
            }
        }
    }
}

namespace Vmm.Devices.Virtio;

/// <summary>The device status: from reset to DRIVER_OK, to DEVICE_NEEDS_RESET and back to reset.</summary>
public sealed partial class CommonConfiguration
{
    private const DeviceStatus DriverMayWrite = DeviceStatus.Acknowledge | DeviceStatus.Driver
        | DeviceStatus.FeaturesOk | DeviceStatus.DriverOk | DeviceStatus.Failed;

    void IVirtqueueOwner.Interrupt(Virtqueue queue) => Interrupt(queue);

    void IVirtqueueOwner.Broken(Virtqueue queue, string fault) => Fail(queue.Index, fault);

    void IVirtqueueOwner.Drained(Virtqueue queue)
    {
        if (_resetting)
        {
            FinishResetIfDrained();
        }
        else
        {
            _configurations[queue.Index].Clear();
        }

        Monitor.PulseAll(_device.Gate);
    }

    /// <summary>Section 3.1.1 as a state machine: bits are only ever added, each after the one before it; what the driver may
    /// not set, or sets too early, is ignored.</summary>
    private void WriteStatus(uint value)
    {
        if (value == 0)
        {
            BeginReset();
            return;
        }

        if (_resetting)
        {
            return;
        }

        var wanted = (DeviceStatus)value & DriverMayWrite;
        if ((wanted & DeviceStatus.Failed) != 0 && !Has(DeviceStatus.Failed))
        {
            _status |= DeviceStatus.Failed;     // the driver has given up: nothing is served until it resets
            PauseQueues();
        }

        if ((wanted & DeviceStatus.Acknowledge) != 0)
        {
            _status |= DeviceStatus.Acknowledge;
        }

        if ((wanted & DeviceStatus.Driver) != 0 && Has(DeviceStatus.Acknowledge))
        {
            _status |= DeviceStatus.Driver;
        }

        if ((wanted & DeviceStatus.FeaturesOk) != 0 && Has(DeviceStatus.Driver) && !Has(DeviceStatus.FeaturesOk)
            && FeaturesAreAcceptable())
        {
            _status |= DeviceStatus.FeaturesOk;
        }

        if ((wanted & DeviceStatus.DriverOk) != 0 && Has(DeviceStatus.FeaturesOk) && !Has(DeviceStatus.DriverOk))
        {
            _status |= DeviceStatus.DriverOk;
            if (MayServe)
            {
                Activate();
            }
        }
    }

    private bool FeaturesAreAcceptable() =>
        !_acceptedUnknown
        && (_driverFeatures & ~_device.OfferedFeatures) == 0
        && (_driverFeatures & VirtioFeatures.Version1) != 0
        && _device.AcceptFeatures(_driverFeatures);

    private void Activate()
    {
        _device.Activate();
        for (int i = 0; i < _current.Length; i++)
        {
            if (_configurations[i].IsEnabled && !_configurations[i].IsResetting)
            {
                Start(i);
            }
        }
    }

    private void Start(int index)
    {
        _current[index].Run();
        _device.StartQueue(_current[index]);
        Kick(index);        // a driver may have added buffers, and notified, before DRIVER_OK
    }

    private void BeginReset()
    {
        if (_resetting)
        {
            return;
        }

        _resetting = true;
        for (int i = 0; i < _current.Length; i++)
        {
            if (_configurations[i].IsEnabled && !_configurations[i].IsResetting)
            {
                Stop(i);
            }
        }

        _device.Reset();
        FinishResetIfDrained();
    }

    private void Stop(int index)
    {
        // While this runs the device completes requests that no backend works on; the queue does not count as drained before the
        // end.
        Virtqueue queue = _current[index];
        queue.Stop();
        _stopping = true;
        _device.StopQueue(queue);
        _stopping = false;
    }

    private void FinishResetIfDrained()
    {
        if (_stopping)
        {
            return;
        }

        foreach (Virtqueue queue in _current)
        {
            if (queue.Outstanding != 0)
            {
                return;
            }
        }

        foreach (QueueConfiguration configuration in _configurations)
        {
            configuration.Clear();
        }

        _status = DeviceStatus.None;
        _driverFeatures = 0;
        _acceptedUnknown = false;
        DeviceFeaturesSelect = DriverFeaturesSelect = QueueSelect = 0;
        _resetting = false;
        _interrupts.Reset();
    }

    /// <summary>The only place where a queue that the driver broke leads to DEVICE_NEEDS_RESET (section 2.1.2).</summary>
    private void Fail(int queue, string fault)
    {
        if (Has(DeviceStatus.NeedsReset) || _resetting)
        {
            return;
        }

        _status |= DeviceStatus.NeedsReset;
        PauseQueues();
        _log.Warn(_device.Name, $"queue {queue}: {fault}; the device waits for a reset by the driver");
        if (Has(DeviceStatus.DriverOk))
        {
            _interrupts.NotifyConfiguration();
        }
    }

    private void PauseQueues()
    {
        foreach (Virtqueue queue in _current)
        {
            queue.Pause();
        }
    }
}

/// <summary>The device status field (virtio 1.2, section 2.1).</summary>
[Flags]
internal enum DeviceStatus
{
    None = 0,
    Acknowledge = 1,
    Driver = 2,
    DriverOk = 4,
    FeaturesOk = 8,
    NeedsReset = 64,
    Failed = 128,
}

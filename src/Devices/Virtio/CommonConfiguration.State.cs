using Vmm.Devices.Memory;
using Vmm.Devices.State;

namespace Vmm.Devices.Virtio;

/// <summary>What is saved of any virtio device: what the driver negotiated, where its rings are and how far the device is
/// in them, and the device's own part.</summary>
public sealed partial class CommonConfiguration : ISavedState
{
    private const DeviceStatus AnyStatus = DriverMayWrite | DeviceStatus.NeedsReset;

    /// <inheritdoc/>
    /// <exception cref="InvalidOperationException">Requests are in flight: the machine is not quiesced.</exception>
    public void Save(StateWriter state)
    {
        lock (_device.Gate)
        {
            _device.ReturnBuffers();
            PublishAll();
            if (IsBusy)
            {
                throw new InvalidOperationException($"{_device.Name}: requests are in flight; quiesce the machine first");
            }

            state.Version(1);
            state.Write("status", (uint)_status);
            state.Write("driverFeatures", _driverFeatures);
            state.Write("acceptedUnknown", _acceptedUnknown);
            state.Write("generation", (uint)_generation);
            state.Write("deviceFeaturesSelect", DeviceFeaturesSelect);
            state.Write("driverFeaturesSelect", DriverFeaturesSelect);
            state.Write("queueSelect", QueueSelect);
            state.Write("queues", Enumerable.Range(0, QueueCount), SaveQueue);
            state.Write("device", _device.Save);
        }
    }

    /// <summary>Before a state is loaded: a device that has run gives up what it has, as at a reset by the driver. No request is in
    /// flight.</summary>
    internal void ResetForLoad()
    {
        lock (_device.Gate)
        {
            if (_status != DeviceStatus.None)
            {
                BeginReset();
            }
        }
    }

    /// <inheritdoc/>
    public void Load(StateReader state)
    {
        lock (_device.Gate)
        {
            state.Version(1);
            LoadNegotiation(state);
            StateReader[] queues = state.List("queues", QueueCount, QueueCount);
            for (int i = 0; i < queues.Length; i++)
            {
                LoadQueue(queues[i], i);
                queues[i].End();
            }

            StateReader device = state.Object("device");
            _device.Load(device);
            device.End();
            if (MayServe)
            {
                Activate();     // kicks all queues: a notification may have been pending
            }
        }
    }

    /// <summary>Is a request in flight, or a reset not finished?</summary>
    internal bool IsBusy =>
        _resetting || Array.Exists(_current, static queue => queue.Outstanding != 0)
        || Array.Exists(_configurations, static queue => queue.IsResetting);

    private bool MayServe =>
        (_status & (DeviceStatus.DriverOk | DeviceStatus.NeedsReset | DeviceStatus.Failed)) == DeviceStatus.DriverOk;

    private void LoadNegotiation(StateReader state)
    {
        _status = (DeviceStatus)state.Bits("status", (uint)AnyStatus);
        _driverFeatures = state.UInt64("driverFeatures");
        _acceptedUnknown = state.Boolean("acceptedUnknown");
        _generation = state.UInt8("generation");
        DeviceFeaturesSelect = state.UInt32("deviceFeaturesSelect");
        DriverFeaturesSelect = state.UInt32("driverFeaturesSelect");
        QueueSelect = state.UInt32("queueSelect");
        if ((Has(DeviceStatus.Driver) && !Has(DeviceStatus.Acknowledge))
            || (Has(DeviceStatus.FeaturesOk) && !Has(DeviceStatus.Driver))
            || (Has(DeviceStatus.DriverOk) && !Has(DeviceStatus.FeaturesOk)))
        {
            throw state.Refuse("status", $"0x{(uint)_status:x} has a bit without the one that comes before it");
        }

        if (Has(DeviceStatus.FeaturesOk) && !FeaturesAreAcceptable())
        {
            throw state.Refuse(
                "driverFeatures", $"0x{_driverFeatures:x} is not what this device, which offers 0x{_device.OfferedFeatures:x}, accepts");
        }
    }

    private void SaveQueue(StateWriter state, int index)
    {
        QueueConfiguration configuration = _configurations[index];
        state.Write("size", configuration.Size);
        state.Write("descriptors", configuration.DescriptorArea.Value);
        state.Write("driver", configuration.DriverArea.Value);
        state.Write("device", configuration.DeviceArea.Value);
        state.Write("enabled", configuration.IsEnabled);
        if (configuration.IsEnabled)
        {
            state.Write("ring", _current[index].Save);
        }
    }

    private void LoadQueue(StateReader state, int index)
    {
        QueueConfiguration configuration = _configurations[index];
        configuration.Size = state.UInt32("size");
        configuration.DescriptorArea = new GuestAddress(state.UInt64("descriptors"));
        configuration.DriverArea = new GuestAddress(state.UInt64("driver"));
        configuration.DeviceArea = new GuestAddress(state.UInt64("device"));
        if (!state.Boolean("enabled"))
        {
            return;
        }

        if (!Has(DeviceStatus.FeaturesOk))
        {
            throw state.Refuse("enabled", "is set although no features were agreed on");
        }

        if (TryEnable(index) is { } fault)
        {
            throw state.Refuse("enabled", $"is set although {fault}");
        }

        StateReader ring = state.Object("ring");
        _current[index].Load(ring);
        ring.End();
    }
}

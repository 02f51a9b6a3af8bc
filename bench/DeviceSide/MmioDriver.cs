using Vmm.Devices.Bus;
using Vmm.Devices.Memory;
using Vmm.Devices.Virtio;
using Vmm.Devices.Virtio.Transport;

namespace Vmm.DeviceSide;

/// <summary>The part of a Linux driver that finds a device over mmio and takes it into service, in this process.</summary>
internal sealed class MmioDriver(VirtioMmioTransport transport)
{
    private const uint Acknowledge = 1, Driver = 2, DriverOk = 4, FeaturesOk = 8;

    public MmioDriver(VirtioDevice device, GuestMemory memory, IInterruptTrigger interrupt, IQueueNotifier notifier)
        : this(new VirtioMmioTransport(device, memory, interrupt, notifier, new Complaints()))
    {
    }

    public void Negotiate(ulong wanted)
    {
        Set(MmioRegister.Status, Acknowledge);
        Set(MmioRegister.Status, Acknowledge | Driver);
        for (uint half = 0; half < 2; half++)
        {
            Set(MmioRegister.DeviceFeaturesSel, half);
            Set(MmioRegister.DriverFeaturesSel, half);
            Set(MmioRegister.DriverFeatures, Get(MmioRegister.DeviceFeatures) & (uint)(wanted >> (int)(32 * half)));
        }

        Set(MmioRegister.Status, Acknowledge | Driver | FeaturesOk);
        if ((Get(MmioRegister.Status) & FeaturesOk) == 0)
        {
            throw new InvalidOperationException("the device refuses its own features");
        }
    }

    public void EnableQueue(int queue, SplitRing ring)
    {
        Set(MmioRegister.QueueSel, (uint)queue);
        Set(MmioRegister.QueueNum, (uint)ring.Size);
        Set(MmioRegister.QueueDescLow, (uint)ring.Table);
        Set(MmioRegister.QueueDriverLow, (uint)ring.Avail);
        Set(MmioRegister.QueueDeviceLow, (uint)ring.Used);
        Set(MmioRegister.QueueReady, 1);
        if (Get(MmioRegister.QueueReady) != 1)
        {
            throw new InvalidOperationException($"the device refuses queue {queue}");
        }
    }

    public void Go() => Set(MmioRegister.Status, Acknowledge | Driver | FeaturesOk | DriverOk);

    public uint Get(MmioRegister register)
    {
        Span<byte> value = stackalloc byte[4];
        transport.Read((ulong)register, value);
        return BitConverter.ToUInt32(value);
    }

    public void Set(MmioRegister register, uint value) => transport.Write((ulong)register, BitConverter.GetBytes(value));

    private sealed class Complaints : IDeviceLog
    {
        public void Warn(string device, string message) => throw new InvalidOperationException($"{device}: {message}");
    }
}

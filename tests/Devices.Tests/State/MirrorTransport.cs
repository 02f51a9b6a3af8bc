using Vmm.Devices.State;
using Vmm.Devices.Tests.Virtio;

namespace Vmm.Devices.Tests.State;

/// <summary>Makes each access to the registers of two devices, and checks that both answer the same.</summary>
internal sealed class MirrorTransport(TestTransport one, TestTransport other) : TestTransport
{
    public override uint DeviceId => Same(static t => t.DeviceId);

    public override ISavedState State => one.State;

    public override uint Status
    {
        get => Same(static t => t.Status);
        set => Both(t => t.Status = value);
    }

    public override ulong DeviceFeatures => Same(static t => t.DeviceFeatures);

    public override ulong DriverFeatures
    {
        get => Same(static t => t.DriverFeatures);
        set => Both(t => t.DriverFeatures = value);
    }

    public override uint ConfigGeneration => Same(static t => t.ConfigGeneration);

    public override ulong RawLength => one.RawLength;

    public override uint QueueMaxSize(int queue) => Same(t => t.QueueMaxSize(queue));

    public override void SetQueue(int queue, uint size, ulong descriptors, ulong driver, ulong device) =>
        Both(t => t.SetQueue(queue, size, descriptors, driver, device));

    public override void EnableQueue(int queue) => Both(t => t.EnableQueue(queue));

    public override bool IsQueueEnabled(int queue) => Same(t => t.IsQueueEnabled(queue));

    public override void ResetQueue(int queue) => Both(t => t.ResetQueue(queue));

    public override bool IsQueueResetting(int queue) => Same(t => t.IsQueueResetting(queue));

    public override void Notify(uint queue) => Both(t => t.Notify(queue));

    public override uint TakeInterrupts() => Same(static t => t.TakeInterrupts());

    public override void ReadConfig(ulong offset, Span<byte> data)
    {
        one.ReadConfig(offset, data);
        var others = new byte[data.Length];
        other.ReadConfig(offset, others);
        Assert.Equal(data.ToArray(), others);
    }

    public override void WriteConfig(ulong offset, ReadOnlySpan<byte> data)
    {
        one.WriteConfig(offset, data);
        other.WriteConfig(offset, data);
    }

    public override void Raw(ulong offset, Span<byte> data, bool write)
    {
        byte[] others = data.ToArray();
        one.Raw(offset, data, write);
        other.Raw(offset, others, write);
        Assert.Equal(data.ToArray(), others);
    }

    private T Same<T>(Func<TestTransport, T> read)
    {
        T value = read(one);
        Assert.Equal(value, read(other));
        return value;
    }

    private void Both(Action<TestTransport> write)
    {
        write(one);
        write(other);
    }
}

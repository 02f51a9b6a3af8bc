using Vmm.Devices.State;
using Vmm.Devices.Virtio;
using Vmm.Devices.Virtio.Transport;

namespace Vmm.Devices.Tests.Virtio;

/// <summary>The driver's side of a transport: the same tests run over each.</summary>
internal abstract class TestTransport
{
    public abstract uint DeviceId { get; }

    /// <summary>All that is saved of the device and what it is plugged into.</summary>
    public abstract ISavedState State { get; }

    public abstract uint Status { get; set; }

    public abstract ulong DeviceFeatures { get; }

    public abstract ulong DriverFeatures { get; set; }

    public abstract uint ConfigGeneration { get; }

    public abstract uint QueueMaxSize(int queue);

    /// <summary>Selects the queue and writes its registers, without enabling it.</summary>
    public abstract void SetQueue(int queue, uint size, ulong descriptors, ulong driver, ulong device);

    public abstract void EnableQueue(int queue);

    public abstract bool IsQueueEnabled(int queue);

    /// <summary>VIRTIO_F_RING_RESET.</summary>
    public abstract void ResetQueue(int queue);

    public abstract bool IsQueueResetting(int queue);

    public abstract void Notify(uint queue);

    /// <summary>Takes and acknowledges what interrupts stand for: bit 0 used buffers, bit 1 configuration.</summary>
    public abstract uint TakeInterrupts();

    public abstract void ReadConfig(ulong offset, Span<byte> data);

    public abstract void WriteConfig(ulong offset, ReadOnlySpan<byte> data);

    /// <summary>An access of any offset and width to the registers.</summary>
    public abstract void Raw(ulong offset, Span<byte> data, bool write);

    /// <summary>Bytes of registers that <see cref="Raw"/> may touch.</summary>
    public abstract ulong RawLength { get; }

    public uint ReadConfig32(ulong offset)
    {
        Span<byte> data = stackalloc byte[4];
        ReadConfig(offset, data);
        return BitConverter.ToUInt32(data);
    }

    public ulong ReadConfig64(ulong offset) => ReadConfig32(offset) | ((ulong)ReadConfig32(offset + 4) << 32);
}

/// <summary>Which transport a test runs over.</summary>
public enum TransportKind
{
    Mmio,
    Pci,
}

public enum RingKind
{
    Split,
    Packed,
}

/// <summary>What a test runs over.</summary>
public readonly record struct Variant(TransportKind Transport, RingKind Ring)
{
    /// <summary>Every transport with every ring format.</summary>
    public static TheoryData<Variant> All => [.. AllVariants];

    public static IEnumerable<Variant> AllVariants =>
        from t in Enum.GetValues<TransportKind>() from r in Enum.GetValues<RingKind>() select new Variant(t, r);

    /// <summary>For what has nothing to do with either.</summary>
    public static Variant Default => new(TransportKind.Mmio, RingKind.Split);
}

internal static class TestTransports
{
    /// <summary>What devices offer in these tests.</summary>
    public const ulong RingFeatures = VirtioFeatures.Default | VirtioFeatures.RingPacked;

    public static TestTransport Create(TransportKind kind, TestRig rig, VirtioDevice device, bool waitsForResets = false) =>
        kind switch
        {
            TransportKind.Mmio => new TestTransportMmio(
                new VirtioMmioTransport(device, rig.Memory, rig, rig, rig, waitsForResets)),
            TransportKind.Pci => new TestTransportPci(rig, device),
            _ => throw new ArgumentOutOfRangeException(nameof(kind)),
        };
}

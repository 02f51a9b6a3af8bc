using System.Buffers.Binary;
using Vmm.Devices.Memory;
using Vmm.Devices.Virtio;
using Vmm.Devices.Virtio.Balloon;

namespace Vmm.Devices.Tests.Virtio;

/// <summary>A balloon with a driver in front of it and a host behind it.</summary>
internal sealed class BalloonRig : IDisposable
{
    public const int Inflate = 0;
    public const int Deflate = 1;
    public const int Statistics = 2;
    public const int Report = 3;

    public const ulong StatisticsFeature = 1 << 1;
    public const ulong PoisonFeature = 1 << 4;
    public const ulong ReportFeature = 1 << 5;

    /// <summary>Pages that nothing of a test is in.</summary>
    public const uint FirstPage = 0x1f0;

    public BalloonRig(Variant variant, ulong refuse = 0, bool start = true)
    {
        Device = new VirtioBalloon("balloon", Rig.Memory, Host, Time) { RingFeatures = TestTransports.RingFeatures };
        Driver = new TestDriver(Rig, Device, variant);
        if (start)
        {
            Driver.Start(refuse);
        }
    }

    public TestRig Rig { get; } = new();

    public FakeBalloonMemory Host { get; } = new();

    public ManualTime Time { get; } = new();

    public VirtioBalloon Device { get; }

    public TestDriver Driver { get; }

    /// <summary>Page numbers as the guest sends them; <paramref name="cut"/> in two descriptors.</summary>
    public Buffer[] Request(ReadOnlySpan<uint> pages, int cut = 0)
    {
        byte[] bytes = new byte[pages.Length * 4];
        for (int i = 0; i < pages.Length; i++)
        {
            BinaryPrimitives.WriteUInt32LittleEndian(bytes.AsSpan(i * 4), pages[i]);
        }

        ulong at = Driver.Place(bytes);
        return cut == 0
            ? [new Buffer(at, (uint)bytes.Length, false)]
            : [new Buffer(at, (uint)cut, false), new Buffer(at + (uint)cut, (uint)(bytes.Length - cut), false)];
    }

    /// <summary>Sends a request and sees it completed.</summary>
    public void Send(int queue, params ReadOnlySpan<Buffer> request)
    {
        int id = Driver.Queues[queue].Add(request);
        Driver.Transport.Notify((uint)queue);
        Assert.True(Rig.RunLoop(1000) < 1000, "the loop spins");
        Assert.True(Driver.Queues[queue].TryTake(out int taken, out uint length), "not served");
        Assert.Equal(id, taken);
        Assert.Equal(0u, length);
    }

    /// <summary>Where a page lies in this process.</summary>
    public nint HostAddress(ulong page)
    {
        Assert.True(Rig.Memory.TryGetAddress(new GuestAddress(page * 4096), 4096, out nint address));
        return address;
    }

    public Buffer Entries(params ReadOnlySpan<Entry> entries)
    {
        byte[] bytes = new byte[entries.Length * 10];
        for (int i = 0; i < entries.Length; i++)
        {
            BinaryPrimitives.WriteUInt16LittleEndian(bytes.AsSpan(i * 10), (ushort)entries[i].Tag);
            BinaryPrimitives.WriteUInt64LittleEndian(bytes.AsSpan((i * 10) + 2), entries[i].Value);
        }

        ulong at = Driver.Place(bytes);
        return new Buffer(at, (uint)bytes.Length, false);
    }

    public void AddStatistics(Buffer entries)
    {
        Driver.Queues[Statistics].Add(entries);
        Driver.Transport.Notify(Statistics);
        Rig.RunLoop();
    }

    public void Dispose() => Rig.Dispose();
}

/// <summary>struct virtio_balloon_stat.</summary>
internal readonly record struct Entry(int Tag, ulong Value);

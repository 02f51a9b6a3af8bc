using Vmm.Devices.Memory;
using Vmm.Devices.Virtio;
using Vmm.Devices.Virtio.Balloon;
using Vmm.Devices.Virtio.Block;
using Vmm.Devices.Virtio.Console;
using Vmm.Devices.Virtio.Net;
using Vmm.Devices.Virtio.Rng;
using Vmm.Devices.Virtio.Vsock;

namespace Vmm.Devices.Tests.Virtio;

/// <summary>A queue of some device, for tests that hold for all of them.</summary>
public enum TargetKind
{
    Block,
    NetReceive,
    NetTransmit,
    NetControl,
    Rng,
    VsockTransmit,
    BalloonInflate,
    BalloonReport,
    ConsoleTransmit,
    ConsoleControl,
}

/// <summary>A device, one of its queues, and a request that it serves.</summary>
internal sealed class TestTarget : IDisposable
{
    private readonly TargetKind _kind;
    private readonly FakeEntropy _entropy = new();
    private readonly FakeBalloonMemory _balloon = new();
    private readonly FakeSerialOutput _screen = new();

    public TestTarget(TargetKind kind, Variant variant, bool start = true, ulong refuse = 0)
    {
        _kind = kind;
        Device = kind switch
        {
            TargetKind.Block => new VirtioBlock("blk", Disk = new FakeDisk(1 << 20), new BlockOptions { QueueSize = 64 })
            {
                RingFeatures = TestTransports.RingFeatures,
            },
            TargetKind.Rng => new VirtioRng("rng", _entropy) { RingFeatures = TestTransports.RingFeatures },
            TargetKind.VsockTransmit => new VirtioVsock("vsock", new FakeVsockHost(), TestDriverVsock.Cid)
            {
                RingFeatures = TestTransports.RingFeatures,
            },
            TargetKind.BalloonInflate or TargetKind.BalloonReport =>
                new VirtioBalloon("balloon", Rig.Memory, _balloon) { RingFeatures = TestTransports.RingFeatures },
            TargetKind.ConsoleTransmit or TargetKind.ConsoleControl =>
                new VirtioConsole("console", new ConsolePort("", _screen, isConsole: true), new ConsolePort("data", _screen))
                {
                    RingFeatures = TestTransports.RingFeatures,
                },
            _ => new VirtioNet("net", Net = new FakeNet(pairs: 2), new NetOptions { Mac = new byte[] { 2, 0, 0, 0, 0, 1 }, QueueSize = 64 })
            {
                RingFeatures = TestTransports.RingFeatures,
            },
        };
        Queue = kind switch
        {
            TargetKind.NetTransmit or TargetKind.VsockTransmit or TargetKind.ConsoleTransmit => 1,
            TargetKind.ConsoleControl => ConsoleRig.ControlTransmit,
            TargetKind.NetControl => 4,
            TargetKind.BalloonReport => BalloonRig.Report,
            _ => 0,
        };
        Driver = new TestDriver(Rig, Device, variant);
        Rig.Poller = Net is null ? null : Net.Poll;
        if (start)
        {
            Driver.Start(refuse);
        }
    }

    public static IEnumerable<object[]> All =>
        from v in Variant.AllVariants from t in Enum.GetValues<TargetKind>() select new object[] { v, t };

    public static IEnumerable<object[]> AllSplit =>
        from t in Enum.GetValues<TransportKind>() from k in Enum.GetValues<TargetKind>() select new object[] { t, k };

    public TestRig Rig { get; } = new();

    public VirtioDevice Device { get; }

    public FakeDisk? Disk { get; }

    public FakeNet? Net { get; }

    public TestDriver Driver { get; }

    public int Queue { get; }

    public TestDriverQueue Ring => Driver.Queues[Queue];

    /// <summary>A request that the device serves, in two descriptors at most, of <see cref="ValidBytes"/> bytes.</summary>
    public Buffer[] Valid()
    {
        ulong at = Driver.Allocate(2048);
        switch (_kind)
        {
            case TargetKind.Block:
                Rig.Memory.Write(new GuestAddress(at), BlockRig.Header(BlockRig.Flush, 0));
                Rig.Memory.Write(new GuestAddress(at + 16), (byte)0xee);
                return [new Buffer(at, 16, false), new Buffer(at + 16, 1, true)];
            case TargetKind.NetTransmit:
                Rig.Memory.Write(new GuestAddress(at), new byte[12 + 60]);
                return [new Buffer(at, 12 + 60, false)];
            case TargetKind.VsockTransmit:
                // The end of a connection that there is not, to which there is no answer.
                var header = new VsockHeader { SrcCid = TestDriverVsock.Cid, DstCid = VirtioVsock.HostCid, Type = 1, Op = VsockOp.Rst };
                Rig.Memory.Write(new GuestAddress(at), header);
                return [new Buffer(at, VsockHeader.Length, false)];
            case TargetKind.NetControl:
                Rig.Memory.Write<uint>(new GuestAddress(at), 0x0001_0004);
                return [new Buffer(at, 4, false), new Buffer(at + 4, 1, true)];
            case TargetKind.BalloonInflate:
                Rig.Memory.Write(new GuestAddress(at), BalloonRig.FirstPage);
                return [new Buffer(at, 4, false)];
            case TargetKind.ConsoleTransmit:
                return [new Buffer(at, 100, false)];
            case TargetKind.ConsoleControl:
                Rig.Memory.Write(new GuestAddress(at), 0x0001_0000_ffff_ffff);      // DEVICE_READY
                return [new Buffer(at, 8, false)];
            case TargetKind.BalloonReport:
                return [new Buffer(BalloonRig.FirstPage * 4096UL, 8192, true)];
            default:
                return [new Buffer(at, 2048, true)];
        }
    }

    /// <summary>Notifies (whether the device wants it or not), and gives the device a reason to look at its queue.</summary>
    public void Poke()
    {
        if (_kind == TargetKind.NetReceive && Net!.Waiting() == 0)
        {
            Net.Inject(new byte[12 + 60]);
        }

        Driver.Transport.Notify((uint)Queue);
        int turns = Rig.RunLoop(1000);
        Assert.True(turns < 1000, "the loop spins");
    }

    /// <summary>Requests served, in terms of what left the device.</summary>
    public long Served => _kind switch
    {
        TargetKind.Block => Disk!.Submits,
        TargetKind.NetReceive => Net!.Received,
        TargetKind.Rng => _entropy.Bytes / 2048,
        TargetKind.BalloonInflate or TargetKind.BalloonReport => _balloon.Calls,
        TargetKind.ConsoleTransmit => _screen.Total / 100,
        _ => long.MaxValue,
    };

    public void KeepNoRecord()
    {
        _balloon.KeepNoRecord = true;
        _screen.KeepNoRecord = true;
        if (Disk is not null)
        {
            Disk.KeepNoRecord = true;
        }

        if (Net is not null)
        {
            Net.KeepNoRecord = true;
            Net.Flood = _kind == TargetKind.NetReceive ? new byte[72] : null;
        }
    }

    /// <summary>The loop's turn, without anything of the tests around it.</summary>
    public void ServeNow()
    {
        Device.Notify(Queue);
        if (_kind == TargetKind.NetReceive)
        {
            ((VirtioNet)Device).ReceiveReady(0);
        }
    }

    /// <summary>A request goes through from start to end.</summary>
    public void AssertServes()
    {
        int id = Ring.Add(Valid());
        Poke();
        Assert.True(Ring.TryTake(out int taken, out uint length), "not served");
        Assert.Equal(id, taken);
        Assert.Equal(_kind switch
        {
            TargetKind.Block or TargetKind.NetControl => 1u,
            TargetKind.NetReceive => 72u,
            TargetKind.NetTransmit or TargetKind.VsockTransmit or TargetKind.BalloonInflate or TargetKind.BalloonReport
                or TargetKind.ConsoleTransmit or TargetKind.ConsoleControl => 0u,
            _ => 2048u,
        }, length);
        Assert.False(Ring.TryTake(out _, out _));
    }

    /// <summary>The device asks for a reset: one line in the log, and DEVICE_NEEDS_RESET until it is reset.</summary>
    public void AssertNeedsReset(string fault)
    {
        Assert.Equal(TestDriver.Live | TestDriver.NeedsReset, Driver.Transport.Status);
        Assert.Contains(fault, Assert.Single(Rig.Log), StringComparison.Ordinal);
        Assert.Equal(2u, Driver.Transport.TakeInterrupts() & 2);
        Poke();
        Poke();
        Assert.Single(Rig.Log);
        Assert.Equal(0u, Driver.Transport.TakeInterrupts() & 2);
        Rig.Log.Clear();
        Driver.Start();
        AssertServes();
        Assert.Empty(Rig.Log);
    }

    public void Dispose() => Rig.Dispose();
}

internal sealed class FakeEntropy : IEntropySource
{
    public long Bytes { get; private set; }

    public void Fill(Span<byte> destination)
    {
        destination.Fill(0x5a);
        Bytes += destination.Length;
    }
}

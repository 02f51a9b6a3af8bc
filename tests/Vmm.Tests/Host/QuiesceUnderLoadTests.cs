using System.Net.Sockets;
using Vmm.Backends.Disks;
using Vmm.Backends.Networks;
using Vmm.Backends.Sockets;
using Vmm.Devices.Memory;
using Vmm.Devices.Tests.Virtio;
using Vmm.Devices.Virtio;
using Vmm.Devices.Virtio.Block;
using Vmm.Devices.Virtio.Transport;
using Vmm.Devices.Virtio.Vsock;
using Vmm.Host;
using Vmm.Machines.Slots;
using Vmm.Tests.Networks;
using Buffer = Vmm.Devices.Tests.Virtio.Buffer;

namespace Vmm.Tests.Host;

/// <summary>An event loop with a disk, two network cards and a socket device on it, with drivers that keep them busy on
/// threads of their own: ten thousand times in a row all stands still, and nothing is lost, doubled or damaged.</summary>
public sealed class QuiesceUnderLoadTests : IDisposable
{
    private static readonly byte[] MacA = [2, 0, 0, 0, 0, 1], MacB = [2, 0, 0, 0, 0, 2];
    private static readonly TimeSpan Patience = TimeSpan.FromSeconds(60);

    private readonly string _directory = Directory.CreateTempSubdirectory("vmm-quiet-").FullName;
    private readonly EventLoop _loop = new();
    private readonly List<IDisposable> _owned = [];
    private readonly List<TestRig> _rigs = [];
    private readonly ManualResetEventSlim _mayRun = new(true);
    private volatile bool _pause, _stop;
    private int _parked;
    private long _steps;
    private volatile Exception? _failure;

    public void Dispose()
    {
        _loop.Stop();
        _owned.Reverse();
        _owned.ForEach(static owned => owned.Dispose());
        _loop.Dispose();
        _mayRun.Dispose();
        Directory.Delete(_directory, recursive: true);
    }

    [Theory]
    [InlineData(true, 10_000)]
    [InlineData(false, 1000)]
    public void Standing_still_again_and_again_loses_nothing(bool ioUring, int rounds)
    {
        var disks = new DiskHost(_loop, allowIoUring: ioUring);
        (Action disk, VirtioBlock block) = DiskDriver(disks);
        (Action net, Func<bool> netIsUp) = NetDriver();
        Action vsock = SocketDriver(out Socket listener);
        _loop.Failed += error => _failure = error;
        _loop.Start();
        Assert.True(SpinWait.SpinUntil(netIsUp, Patience));
        Thread[] drivers = [.. new[] { disk, net, vsock }.Select(step => new Thread(() => Drive(step)))];
        Array.ForEach(drivers, static driver => driver.Start());
        for (int round = 0; round < rounds && _failure is null; round++)
        {
            _mayRun.Reset();
            _pause = true;
            Assert.True(SpinWait.SpinUntil(() => Volatile.Read(ref _parked) == drivers.Length || _failure is not null, Patience));
            Assert.True(_loop.TryHold(() => disks.IsQuiet && !block.HasRequests, Patience) || _failure is not null);
            if (round % 500 == 0)
            {
                byte[][] before = [.. _rigs.Select(MemoryOf)];
                Thread.Sleep(2);
                Assert.True(_rigs.Zip(before).All(static pair => MemoryOf(pair.First).AsSpan().SequenceEqual(pair.Second)));
            }

            _loop.Release();
            _pause = false;
            _mayRun.Set();
            Assert.True(SpinWait.SpinUntil(() => Volatile.Read(ref _parked) == 0 || _failure is not null, Patience));
        }

        _stop = true;
        Array.ForEach(drivers, static driver => driver.Join());
        listener.Dispose();
        _loop.Stop();
        disks.Close();
        Assert.Null(_failure);
        Assert.True(_steps > 1000, $"{_steps} steps");
    }

    private static byte[] MemoryOf(TestRig rig)
    {
        var bytes = new byte[TestRig.LowMemory];
        rig.Memory.Read(new GuestAddress(0), bytes);
        return bytes;
    }

    /// <summary>What a vCPU does: steps, until it is to wait, or to end.</summary>
    private void Drive(Action step)
    {
        try
        {
            while (!_stop && _failure is null)
            {
                if (_pause)
                {
                    Interlocked.Increment(ref _parked);
                    _mayRun.Wait();
                    Interlocked.Decrement(ref _parked);
                }

                step();
                Interlocked.Increment(ref _steps);
            }
        }
        catch (Exception error)
        {
            _failure = error;
        }
    }

    /// <summary>Writes blocks that say which they are and how often they were written, and reads others back.</summary>
    private (Action Step, VirtioBlock Device) DiskDriver(DiskHost disks)
    {
        const int Blocks = 256, BlockBytes = 4096, Header = 16;
        string path = Path.Combine(_directory, "disk.img");
        File.WriteAllBytes(path, new byte[Blocks * BlockBytes]);
        OpenDisk open = disks.Open(DiskSpec.Parse(path));
        var block = new VirtioBlock("disk", open.Backend, open.Options);
        TestRig rig = Rig();
        var events = new QueueEvents(_loop, block);
        _owned.Add(disks);
        _owned.Add(events);
        var driver = new TestDriver(rig, new TestTransportMmio(new VirtioMmioTransport(block, rig.Memory, rig, events, rig)), RingKind.Split);
        driver.Start();
        TestDriverQueue ring = driver.Queues[0];
        ulong at = driver.Allocate(Header + BlockBytes + 1);
        var written = new int[Blocks];
        var random = new Random(1);
        int target = 0, sequence = 0;
        bool isWrite = false, isBusy = false;
        return (() =>
        {
            if (!isBusy)
            {
                (isWrite, target) = (random.Next(2) == 0, random.Next(Blocks));
                ring.Write(at, isWrite ? 1u : 0u);
                ring.Write(at + 8, (ulong)target * (BlockBytes / 512));
                for (ulong i = 0; i < BlockBytes; i += 8)
                {
                    ring.Write(at + Header + i, isWrite ? Content(target, sequence + 1, i) : 0xdead);
                }

                ring.Write(at + Header + BlockBytes, (byte)0xee);
                ring.Add(new Buffer(at, Header, false), new Buffer(at + Header, BlockBytes, !isWrite), new Buffer(at + Header + BlockBytes, 1, true));
                driver.Transport.Notify(0);
                isBusy = true;
            }
            else if (ring.TryTake(out _, out _))
            {
                isBusy = false;
                Assert.Equal(0, ring.Read<byte>(at + Header + BlockBytes));
                if (isWrite)
                {
                    written[target] = ++sequence;
                    return;
                }

                for (ulong i = 0; i < BlockBytes; i += 8)
                {
                    Assert.Equal(written[target] == 0 ? 0 : Content(target, written[target], i), ring.Read<ulong>(at + Header + i));
                }
            }
        }, block);

        static ulong Content(int block, int sequence, ulong offset) => ((ulong)block << 48) ^ ((ulong)sequence << 16) ^ offset;
    }

    /// <summary>Sends numbered frames from one card to the other.</summary>
    private (Action Step, Func<bool> IsUp) NetDriver()
    {
        var log = new SaidLog();
        string path = Path.Combine(_directory, "lan");
        NetStand[] cards = [.. new[] { MacA, MacB }.Select(mac =>
        {
            var backend = new SocketNet(_loop, path, mac, log);
            var stand = new NetStand(_loop, backend, mac);
            _owned.Add(backend);
            _owned.Add(stand);
            return stand;
        })];
        (NetStand a, NetStand b) = (cards[0], cards[1]);
        b.Offer(200);
        int sent = 0, received = 0;
        bool waits = false;
        return (() =>
        {
            if (waits)
            {
                waits = !a.TrySent();
            }
            else if (sent - received < 64)
            {
                byte[] frame = new byte[60 + (sent % 1400)];
                MacB.CopyTo(frame, 0);
                MacA.CopyTo(frame, 6);
                BitConverter.TryWriteBytes(frame.AsSpan(16), ++sent);
                waits = !a.Send(frame);
            }

            while (b.TakeFrame(out ulong buffer) is { } got)
            {
                Assert.Equal(++received, BitConverter.ToInt32(got, 16));
                b.OfferAgain(buffer);
                b.Kick();
            }
        }, () => a.LinkIsUp && b.LinkIsUp);
    }

    /// <summary>Sends numbers to a program of the host, which sends them back.</summary>
    private Action SocketDriver(out Socket listener)
    {
        const uint Port = 1000;
        string path = Path.Combine(_directory, "vsock");
        var host = new VsockHost(_loop, VsockSpec.Parse(path));
        _owned.Add(host);
        Socket listening = listener = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
        listener.Bind(new UnixDomainSocketEndPoint($"{path}_{Port}"));
        listener.Listen();
        var guest = new TestDriverVsock(Rig(), new VirtioVsock("vsock", host, TestDriverVsock.Cid), Variant.Default);
        guest.Offer(16);
        guest.Send(VsockOp.Request, Port);
        new Thread(() => Echo(listening)) { IsBackground = true }.Start();
        long sent = 0, received = 0;
        var rest = new List<byte>();
        return () =>
        {
            while (guest.Take() is { } packet)
            {
                guest.Offer(1);
                Assert.NotEqual(VsockOp.Rst, packet.Header.Op);
                guest.FwdCnt += (uint)packet.Data.Length;
                rest.AddRange(packet.Data);
                while (rest.Count >= sizeof(long))
                {
                    Assert.Equal(++received, BitConverter.ToInt64([.. rest[..sizeof(long)]]));
                    rest.RemoveRange(0, sizeof(long));
                }
            }

            if (sent - received < 32 && guest.InFlight < 32)
            {
                guest.Send(VsockOp.Rw, Port, BitConverter.GetBytes(++sent));
            }
        };
    }

    private static void Echo(Socket listener)
    {
        try
        {
            using Socket program = listener.Accept();
            byte[] some = new byte[4096];
            while (program.Receive(some) is > 0 and int got)
            {
                program.Send(some.AsSpan(0, got));
            }
        }
        catch (SocketException)
        {
            // the test is over
        }
    }

    private TestRig Rig()
    {
        var rig = new TestRig();
        _rigs.Add(rig);
        _owned.Add(rig);
        return rig;
    }
}

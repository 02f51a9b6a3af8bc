using System.Diagnostics;
using Vmm.Backends.Disks;
using Vmm.Devices.Bus;
using Vmm.Devices.Virtio;
using Vmm.Devices.Virtio.Block;
using Vmm.Host;
using Vmm.Machines;
using Vmm.Machines.Slots;

namespace Vmm.DeviceSide;

/// <summary>The disk as the product has it, from the rings to io_uring, on the product's event loop. The driver runs on
/// the loop's thread too, so that one thread does all the work, as in fio: an interrupt is an eventfd (in the product an
/// irqfd) that the loop hands to the driver, a notification another (in the product an ioeventfd).</summary>
internal sealed unsafe class DiskFigures : IInterruptTrigger, IDisposable
{
    private const int QueueSize = 128;
    private const uint BlockBytes = 4096;
    private const ulong Rings = 0x10000, Tables = 0x20000, Headers = 0x30000, Data = 0x100000;
    private const uint HeaderStride = 64, TableStride = 48;

    private readonly GuestRam _ram = new(64 << 20);
    private readonly EventLoop _loop = new();
    private readonly DiskHost _host;
    private readonly EventFd _interrupt = new();
    private readonly ManualResetEventSlim _over = new();
    private readonly SplitRing _ring;
    private readonly QueueEvents _events;
    private readonly VirtioBlock _block;
    private readonly ulong _blocks;
    private readonly int _depth;
    private ulong _random = 0x9e37_79b9_7f4a_7c15;
    private long _done;
    private int _inFlight;
    private Exception? _failure;
    private volatile bool _ending;

    private DiskFigures(string path, int depth)
    {
        _depth = depth;
        _host = new DiskHost(_loop);
        OpenDisk disk = _host.Open(new DiskSpec(path, ReadOnly: true));
        _blocks = disk.Backend.Length / BlockBytes;
        _block = new VirtioBlock("virtio-blk0", disk.Backend, disk.Options with { QueueSize = QueueSize });
        _events = new QueueEvents(_loop, _block);
        _ring = new SplitRing(_ram.Memory, QueueSize, Rings);
        var driver = new MmioDriver(_block, _ram.Memory, this, _events);
        driver.Negotiate(VirtioFeatures.Default);
        driver.EnableQueue(0, _ring);
        driver.Go();
        for (int i = 0; i < depth; i++)
        {
            Prepare(i);
        }

        _loop.Failed += error => { _failure = error; _over.Set(); };
        _loop.Add(_interrupt.Number, LibC.EPOLLIN, _ => { _interrupt.Drain(); Serve(); });
    }

    /// <returns>Reads a second.</returns>
    public static double RandomReads(string path, int depth, TimeSpan time)
    {
        using var figures = new DiskFigures(path, depth);
        figures._loop.Post(figures.Begin);
        figures._loop.Start();
        Thread.Sleep(TimeSpan.FromMilliseconds(500));       // code is compiled, and compiled better, meanwhile
        long before = Volatile.Read(ref figures._done);
        long start = Stopwatch.GetTimestamp();
        figures._over.Wait(time);
        long done = Volatile.Read(ref figures._done) - before;
        double seconds = Stopwatch.GetElapsedTime(start).TotalSeconds;
        figures._ending = true;
        figures._over.Wait(TimeSpan.FromSeconds(10));
        return figures._failure is null ? done / seconds : throw figures._failure;
    }

    public void Trigger() => _interrupt.Signal();

    public void Dispose()
    {
        _loop.Stop();
        _host.Close();
        _host.Dispose();
        _events.Dispose();
        _loop.Dispose();
        _interrupt.Dispose();
        _over.Dispose();
        _ram.Dispose();
    }

    /// <summary>One indirect descriptor for each request, as Linux uses them: header, data, status.</summary>
    private void Prepare(int slot)
    {
        ulong table = Tables + ((ulong)slot * TableStride);
        ulong header = Headers + ((ulong)slot * HeaderStride);
        byte* entries = SplitRing.Locate(_ram.Memory, table, TableStride);
        SplitRing.Describe(entries, 0, header, 16, SplitRing.Next, 1);
        SplitRing.Describe(entries, 1, Data + ((ulong)slot * BlockBytes), BlockBytes, SplitRing.Next | SplitRing.Write, 2);
        SplitRing.Describe(entries, 2, header + 16, 1, SplitRing.Write, 0);
        _ring.Describe(slot, table, TableStride, SplitRing.Indirect, 0);
    }

    private void Begin()
    {
        for (int i = 0; i < _depth; i++)
        {
            Ask(i);
        }

        _ring.WantInterrupt();
        Offer();
    }

    private void Serve()
    {
        do
        {
            while (_ring.TryTake(out int slot))
            {
                byte* header = SplitRing.Locate(_ram.Memory, Headers + ((ulong)slot * HeaderStride), 17);
                if (header[16] != 0)
                {
                    throw new InvalidOperationException($"a read ended with status {header[16]}");
                }

                _inFlight--;
                _done++;
                if (!_ending)
                {
                    Ask(slot);
                }
            }
        }
        while (_ring.WantInterrupt());
        Offer();
        if (_inFlight == 0)
        {
            _over.Set();
        }
    }

    private void Ask(int slot)
    {
        // xorshift64: which block does not matter, only that reading ahead is of no use.
        _random ^= _random << 13;
        _random ^= _random >> 7;
        _random ^= _random << 17;
        byte* header = SplitRing.Locate(_ram.Memory, Headers + ((ulong)slot * HeaderStride), 17);
        *(ulong*)header = 0;        // VIRTIO_BLK_T_IN
        *(ulong*)(header + 8) = _random % _blocks * (BlockBytes / 512);
        header[16] = 0xff;
        _ring.Add(slot);
        _inFlight++;
    }

    private void Offer()
    {
        if (_ring.Offer())
        {
            _events.Kick(_block, 0);
        }
    }
}

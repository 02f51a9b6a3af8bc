using Vmm.Backends.Disks;
using Vmm.Devices.Virtio;
using Vmm.Devices.Virtio.Block;
using Vmm.Host;

namespace Vmm.Tests.Disks;

public sealed class DiskOptionTests
{
    [Fact]
    public void Unaligned_requests_of_a_direct_disk_are_right_among_aligned_ones()
    {
        using var rig = new DiskRig();
        var content = new byte[1 << 20];
        new Random(1).NextBytes(content);
        rig.Disk = new RawDisk(DiskFiles.Open(rig.File("disk.img", content), false, rig.Engine, DiskCache.None));
        var random = new Random(2);
        for (int round = 0; round < 20; round++)
        {
            var requests = new List<(DiskOperation, ulong, byte[]?, int, DiskOptions)>();
            for (int i = 0; i < 16; i++)
            {
                // Disjoint writes, half of them of single sectors in the middle of a page.
                int at = (i * 65536) + (random.Next(2) == 0 ? 0 : 512 * random.Next(1, 64));
                var data = new byte[at % 4096 == 0 ? 8192 : 512 * random.Next(1, 20)];
                random.NextBytes(data);
                data.CopyTo(content, at);
                requests.Add((DiskOperation.Write, (ulong)at, data, 0, DiskOptions.None));
            }

            DiskRig.Operation[] all = rig.Start([.. requests]);
            rig.Wait(all);
            Assert.All(all, operation => Assert.Equal(DiskResult.Ok, operation.Result));
        }

        Assert.Equal(DiskResult.Ok, rig.Flush());
        Assert.Equal(content, rig.Read(0, content.Length).Data);
        rig.Close();
        Assert.Equal(content, File.ReadAllBytes(Path.Combine(rig.Directory, "disk.img")));
    }

    [Fact]
    public void An_unsafe_disk_completes_flushes_at_once()
    {
        using var rig = new DiskRig();
        rig.Disk = new RawDisk(DiskFiles.Open(rig.File("disk.img", new byte[4096]), false, rig.Engine, DiskCache.Unsafe));
        Assert.Equal(DiskResult.Ok, rig.Flush());
        Assert.Null(rig.Engine.UsesIoUring);        // nothing reached the engine
    }

    [Fact]
    public void A_limited_disk_lets_through_the_burst_and_then_the_rate()
    {
        var rig = new Stand();
        var disk = new ThrottledDisk(rig.Disk, 100, 0, rig.Time, rig.Timer);
        disk.Attach(rig);
        for (int i = 0; i < 50; i++)
        {
            disk.Enqueue(new DiskRequest(DiskOperation.WriteZeroes, i, 0, 512, 0, 0, DiskOptions.None));
        }

        disk.Submit();
        Assert.Equal(10, rig.Ok);               // a tenth of a second's worth
        for (int step = 0; step < 20; step++)
        {
            rig.Advance(TimeSpan.FromMilliseconds(10));
        }

        Assert.InRange(rig.Ok, 29, 31);
        disk.Enqueue(new DiskRequest(DiskOperation.Flush, 99, 0, 0, 0, 0, DiskOptions.None));
        disk.Submit();
        Assert.Equal(99, rig.Last);             // flushes pass
        rig.Advance(TimeSpan.FromSeconds(10));
        rig.Advance(TimeSpan.FromSeconds(10));
        rig.Advance(TimeSpan.FromSeconds(10));
        Assert.InRange(rig.Ok, 51, 51);
    }

    [Fact]
    public void A_request_above_the_burst_passes_and_the_next_pays_for_it()
    {
        var rig = new Stand();
        var disk = new ThrottledDisk(rig.Disk, 0, 1 << 20, rig.Time, rig.Timer);
        disk.Attach(rig);
        byte[] data = new byte[2 << 20];
        Stand.Write(disk, 1, 0, data);
        Assert.Equal(1, rig.Ok);
        Stand.Write(disk, 2, 0, data[..512]);
        rig.Advance(TimeSpan.FromSeconds(1.5));
        Assert.Equal(1, rig.Ok);
        rig.Advance(TimeSpan.FromSeconds(0.6));
        Assert.Equal(2, rig.Ok);
    }

    [Fact]
    public void The_same_seed_fails_the_same_requests()
    {
        string Run(int seed)
        {
            var rig = new Stand();
            var disk = new FaultyDisk(rig.Disk, new DiskFaults(0.3, 0, null, seed), rig.Time, rig.Timer);
            disk.Attach(rig);
            for (int i = 0; i < 200; i++)
            {
                disk.Enqueue(new DiskRequest(DiskOperation.WriteZeroes, i, 0, 512, 0, 0, DiskOptions.None));
            }

            disk.Submit();
            Assert.Equal(200, rig.Ok + rig.Failed.Count);
            Assert.InRange(rig.Failed.Count, 30, 90);
            return string.Join(' ', rig.Failed);
        }

        Assert.Equal(Run(1), Run(1));
        Assert.NotEqual(Run(1), Run(2));
    }

    [Fact]
    public void Latency_holds_each_completion_back()
    {
        var rig = new Stand();
        var disk = new FaultyDisk(rig.Disk, new DiskFaults(0, 20, null, 0), rig.Time, rig.Timer);
        disk.Attach(rig);
        disk.Enqueue(new DiskRequest(DiskOperation.WriteZeroes, 1, 0, 512, 0, 0, DiskOptions.None));
        disk.Submit();
        rig.Advance(TimeSpan.FromMilliseconds(15));
        disk.Enqueue(new DiskRequest(DiskOperation.WriteZeroes, 2, 0, 512, 0, 0, DiskOptions.None));
        disk.Submit();
        Assert.Equal(0, rig.Ok);
        rig.Advance(TimeSpan.FromMilliseconds(6));
        Assert.Equal(1, rig.Ok);
        rig.Advance(TimeSpan.FromMilliseconds(15));
        Assert.Equal(2, rig.Ok);
    }

    [Fact]
    public void A_torn_write_stops_at_the_sector_and_fails()
    {
        var rig = new Stand();
        var disk = new FaultyDisk(rig.Disk, new DiskFaults(0, 0, 4, 0), rig.Time, rig.Timer);
        disk.Attach(rig);
        byte[] ones = new byte[4096];
        Array.Fill(ones, (byte)1);
        Stand.Write(disk, 1, 512, ones);
        Assert.Equal([1], rig.Failed);
        Assert.Equal(ones[..1536], rig.File.Bytes[512..2048]);
        Assert.Equal(new byte[2560], rig.File.Bytes[2048..4608]);
        Stand.Write(disk, 2, 2048, ones);         // begins there: whole
        Assert.Equal(1, rig.Ok);
        Assert.Equal(ones, rig.File.Bytes[2048..6144]);
    }

    [Fact]
    public void A_disk_is_opened_as_its_options_say()
    {
        using var rig = new DiskRig();
        string path = rig.File("disk.img", new byte[65536]);
        using (var host = new DiskHost(rig.Loop))
        {
            OpenDisk disk = host.Open(DiskSpec.Parse(
                path + ",cache=writethrough,serial=abc,queues=2,blocksize=4096,discard=off,iops=5,fault=latency@1"));
            Assert.Equal(65536ul, disk.Backend.Length);
            Assert.Equal("abc", disk.Options.Serial);
            Assert.Equal(2, disk.Options.Queues);
            Assert.Equal(4096u, disk.Options.BlockSize);
            Assert.False(disk.Options.Writeback);
            Assert.False(disk.Backend.CanDiscard);
            Assert.True(disk.Backend.CanWriteZeroes);
            host.Close();
        }

        using var again = new DiskHost(rig.Loop);
        Assert.True(again.Open(DiskSpec.Parse(path + ",readonly")).Backend.IsReadOnly);
        string odd = rig.File("odd.img", new byte[1536]);
        Assert.Contains(
            "blocksize=1024",
            Assert.Throws<UsageException>(() => again.Open(DiskSpec.Parse(odd + ",blocksize=1024"))).Message,
            StringComparison.Ordinal);
    }

    /// <summary>A disk in memory, a clock that only moves when told, and the driver.</summary>
    private sealed class Stand : IDiskCompletions
    {
        private readonly List<FakeTimer> _timers = [];

        public Stand() => Disk = new RawDisk(File);

        public MemoryFile File { get; } = new(4 << 20);

        public RawDisk Disk { get; }

        public FakeTime Time { get; } = new();

        public int Ok { get; private set; }

        public int Last { get; private set; }

        public List<int> Failed { get; } = [];

        public ILoopTimer Timer(Action elapsed)
        {
            var timer = new FakeTimer(this, elapsed);
            _timers.Add(timer);
            return timer;
        }

        public void Advance(TimeSpan by)
        {
            Time.Now += by;
            foreach (FakeTimer timer in _timers)
            {
                timer.Check();
            }
        }

        public static void Write(DiskNode disk, int tag, ulong offset, byte[] data)
        {
            byte[] pinned = GC.AllocateArray<byte>(data.Length, pinned: true);
            data.CopyTo(pinned, 0);
            IoVector[] vectors = GC.AllocateArray<IoVector>(1, pinned: true);
            vectors[0] = new IoVector(
                System.Runtime.InteropServices.Marshal.UnsafeAddrOfPinnedArrayElement(pinned, 0), (nuint)data.Length);
            nint address = System.Runtime.InteropServices.Marshal.UnsafeAddrOfPinnedArrayElement(vectors, 0);
            disk.Enqueue(new DiskRequest(
                DiskOperation.Write, tag, offset, (ulong)data.Length, address, 1, DiskOptions.None));
            disk.Submit();
            GC.KeepAlive(vectors);
            GC.KeepAlive(pinned);
        }

        public void Completed(ReadOnlySpan<DiskCompletion> completions)
        {
            foreach (DiskCompletion completion in completions)
            {
                Last = completion.Tag;
                if (completion.Result == DiskResult.Ok)
                {
                    Ok++;
                }
                else
                {
                    Failed.Add(completion.Tag);
                }
            }
        }

        private sealed class FakeTimer(Stand stand, Action elapsed) : ILoopTimer
        {
            private TimeSpan? _due;

            public void Set(TimeSpan delay) => _due = stand.Time.Now + delay;

            public void Check()
            {
                if (_due <= stand.Time.Now)
                {
                    _due = null;
                    elapsed();
                }
            }

            public void Dispose()
            {
            }
        }
    }

    private sealed class FakeTime : TimeProvider
    {
        public TimeSpan Now { get; set; }

        public override long GetTimestamp() => Now.Ticks;

        public override long TimestampFrequency => TimeSpan.TicksPerSecond;
    }
}

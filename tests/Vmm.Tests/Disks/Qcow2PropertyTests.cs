using Vmm.Assist;
using Vmm.Backends.Disks;
using Vmm.Devices.Virtio;
using Vmm.Devices.Virtio.Block;

namespace Vmm.Tests.Disks;

/// <summary>Random operations against a raw twin, judged by qemu-img; also after crashes.</summary>
public sealed class Qcow2PropertyTests : IDisposable
{
    private const int DiskBytes = 2 << 20;

    private readonly string _directory = Directory.CreateTempSubdirectory("vmm-qcow2-").FullName;

    public void Dispose() => Directory.Delete(_directory, recursive: true);

    public static TheoryData<string, bool, int> Kinds
    {
        get
        {
            var data = new TheoryData<string, bool, int>();
            int seed = 1;
            foreach (string options in (string[])[
                "compat=1.1,cluster_size=65536",
                "compat=1.1,cluster_size=4096,refcount_bits=1",
                "compat=1.1,cluster_size=512,refcount_bits=16",
                "compat=1.1,cluster_size=512,refcount_bits=64",
                "compat=1.1,cluster_size=1048576,refcount_bits=8",
                "compat=1.1,cluster_size=4096,lazy_refcounts=on",
                "compat=0.10,cluster_size=4096"])
            {
                data.Add(options, false, seed++);
                data.Add(options, true, seed++);
            }

            return data;
        }
    }

    [QemuTheory]
    [MemberData(nameof(Kinds))]
    public void Random_operations_leave_what_a_raw_twin_has_and_a_clean_image(string options, bool hasBacking, int seed)
    {
        var run = new RandomRun(_directory, options, hasBacking, seed);
        for (int i = 0; i < 40; i++)
        {
            run.Step();
        }

        Assert.Equal(run.Twin, run.Stand.Read(0, DiskBytes));
        run.Stand.Disk.Close();
        string image = Path.Combine(_directory, "image.qcow2");
        string twin = Path.Combine(_directory, "twin.raw");
        File.WriteAllBytes(image, run.File.Bytes);
        File.WriteAllBytes(twin, run.Twin);
        QemuImg.CheckIsClean(image);
        QemuImg.IsSame(image, twin);
    }

    [QemuTheory]
    [MemberData(nameof(Kinds))]
    public void A_crash_at_any_point_leaves_a_sound_image_with_what_was_flushed(string options, bool hasBacking, int seed)
    {
        var run = new RandomRun(_directory, options, hasBacking, seed + 1000);
        for (int i = 0; i < 25; i++)
        {
            run.Step();
        }

        run.Stand.Disk.Close();
        var random = new Random(seed);
        for (int crash = 0; crash < 6; crash++)
        {
            int at = random.Next(run.File.Count + 1);
            byte[] bytes = run.File.After(at, crash % 2 == 0 ? null : random);
            string image = Path.Combine(_directory, "crash.qcow2");
            File.WriteAllBytes(image, bytes);
            QemuImg.CheckIsSound(image);

            var file = new MemoryFile(bytes.Length);
            bytes.CopyTo(file.Bytes, 0);
            var stand = new Qcow2Stand(file, run.OpenBacking());
            run.CheckAfterCrash(at, stand.Read(0, DiskBytes));
        }
    }

    /// <summary>An image, its twin, and what either may hold after a crash.</summary>
    private sealed class RandomRun
    {
        private readonly Random _random;
        private readonly byte[]? _backing;
        private readonly int _clusterSize;
        private readonly bool _isVersion2;

        // Twins by the number of log entries after which they are sure (flushed) or possible.
        private readonly List<(int LogCount, bool Flushed, byte[] Twin)> _history = [];

        public RandomRun(string directory, string options, bool hasBacking, int seed)
        {
            _random = new Random(seed);
            string path = Path.Combine(directory, "new.qcow2");
            string[] more = [];
            if (hasBacking)
            {
                // Shorter than the disk.
                _backing = new byte[(5 << 18) + 512];
                _random.NextBytes(_backing);
                string backing = Path.Combine(directory, "backing.raw");
                System.IO.File.WriteAllBytes(backing, _backing);
                more = ["-b", "backing.raw", "-F", "raw"];
            }

            QemuImg.Create(path, options, DiskBytes.ToString(), more);
            File = new RecordingFile(System.IO.File.ReadAllBytes(path), seed);
            Twin = new byte[DiskBytes];
            _backing?.CopyTo(Twin, 0);
            Stand = new Qcow2Stand(File, OpenBacking());
            _clusterSize = (int)Stand.Header.ClusterSize;
            _isVersion2 = Stand.Header.Version == 2;
            _history.Add((0, true, (byte[])Twin.Clone()));
        }

        public RecordingFile File { get; }

        public byte[] Twin { get; }

        public Qcow2Stand Stand { get; }

        public RawDisk? OpenBacking()
        {
            if (_backing is null)
            {
                return null;
            }

            var file = new MemoryFile(_backing.Length, 7);
            _backing.CopyTo(file.Bytes, 0);
            return new RawDisk(file);
        }

        /// <summary>One batch of operations that do not overlap, or a flush.</summary>
        public void Step()
        {
            if (_random.Next(4) == 0)
            {
                Assert.Equal(DiskResult.Ok, Stand.Do(DiskOperation.Flush, 0, null));
                _history.Add((File.Count, true, (byte[])Twin.Clone()));
                return;
            }

            int pieces = _random.Next(1, 9);
            int room = DiskBytes / 512 / pieces;
            var reads = new List<(int Offset, byte[] Data)>();
            bool durable = false;
            for (int i = 0; i < pieces; i++)
            {
                int from = (i * room) + _random.Next(room);
                int most = ((i + 1) * room) - from;
                int sectors = Math.Min(most, _random.Next(3) == 0 ? _random.Next(1, 9) : _random.Next(1, 200));
                int offset = from * 512;
                int length = sectors * 512;
                switch (_random.Next(8))
                {
                    case 0:
                        var target = new byte[length];
                        reads.Add((offset, target));
                        Stand.Add(DiskOperation.Read, (ulong)offset, target);
                        break;
                    case 1:
                        Stand.Add(DiskOperation.Discard, (ulong)offset, null, (ulong)length);
                        Forget(offset, length);
                        break;
                    case 2 or 3:
                        DiskOptions unmap = _random.Next(2) == 0 ? DiskOptions.Unmap : DiskOptions.None;
                        Stand.Add(DiskOperation.WriteZeroes, (ulong)offset, null, (ulong)length, unmap);
                        Twin.AsSpan(offset, length).Clear();
                        break;
                    default:
                        var data = new byte[length];
                        _random.NextBytes(data);
                        durable |= _random.Next(10) == 0;
                        Stand.Add(DiskOperation.Write, (ulong)offset, data, options: durable ? DiskOptions.Durable : 0);
                        data.CopyTo(Twin, offset);
                        break;
                }
            }

            Stand.Submit();
            Assert.True(Stand.AllOk);
            _history.Add((File.Count, false, (byte[])Twin.Clone()));
            foreach ((int offset, byte[] data) in reads)
            {
                Assert.Equal(Twin[offset..(offset + data.Length)], data);
            }
        }

        /// <summary>Each sector holds what was last flushed before the crash, or something written since.</summary>
        public void CheckAfterCrash(int logCount, byte[] content)
        {
            int flushed = _history.FindLastIndex(entry => entry.Flushed && entry.LogCount <= logCount);
            for (int at = 0; at < DiskBytes; at += 512)
            {
                ReadOnlySpan<byte> sector = content.AsSpan(at, 512);
                bool found = false;
                for (int i = flushed; i < _history.Count && !found; i++)
                {
                    found = sector.SequenceEqual(_history[i].Twin.AsSpan(at, 512));
                }

                Assert.True(found, $"sector {at / 512} after a crash at {logCount} of {File.Count}");
            }
        }

        /// <summary>What this implementation makes of a discard: whole clusters read as zero, the rest stays.</summary>
        private void Forget(int offset, int length)
        {
            if (_isVersion2 && _backing is not null)
            {
                return;
            }

            int first = (offset + _clusterSize - 1) / _clusterSize * _clusterSize;
            int end = offset + length == DiskBytes ? DiskBytes : (offset + length) / _clusterSize * _clusterSize;
            if (first < end)
            {
                Twin.AsSpan(first, end - first).Clear();
            }
        }
    }
}

using Vmm.Backends.Disks;
using Vmm.Devices.Virtio;
using Vmm.Devices.Virtio.Block;
using Vmm.Host;
using Vmm.Tests.Shared;

namespace Vmm.Tests.Disks;

public sealed class RawDiskTests
{
    private static byte[] Pattern(int length, int seed)
    {
        var data = new byte[length];
        new Random(seed).NextBytes(data);
        return data;
    }

    private static DiskRig Rig(bool ioUring, byte[] content, bool readOnly = false)
    {
        var rig = new DiskRig(ioUring);
        rig.Disk = new RawDisk(DiskFiles.Open(rig.File("disk.img", content), readOnly, rig.Engine));
        return rig;
    }

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public void What_is_written_is_read_again_and_is_in_the_file(bool ioUring)
    {
        byte[] content = Pattern(1 << 20, 1);
        using DiskRig rig = Rig(ioUring, content);
        Assert.Equal(content[8192..24576], rig.Read(8192, 16384).Data);

        byte[] data = Pattern(40960, 2);
        Assert.Equal(DiskResult.Ok, rig.Write(512, data));
        Assert.Equal(DiskResult.Ok, rig.Flush());
        Assert.Equal(data, rig.Read(512, data.Length).Data);
        data.CopyTo(content, 512);
        Assert.Equal(ioUring, rig.Engine.UsesIoUring);
        string path = Path.Combine(rig.Directory, "disk.img");
        rig.Close();
        Assert.Equal(content, File.ReadAllBytes(path));
    }

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public void More_requests_than_the_ring_has_entries_are_all_done(bool ioUring)
    {
        byte[] content = Pattern(1 << 20, 3);
        using DiskRig rig = Rig(ioUring, content);
        DiskRig.Operation[] all = rig.Start([.. Enumerable.Range(0, 1000).Select(i =>
            (DiskOperation.Read, (ulong)(i * 512), (byte[]?)null, 4096, DiskOptions.None))]);
        rig.Wait(all);
        for (int i = 0; i < all.Length; i++)
        {
            Assert.Equal(DiskResult.Ok, all[i].Result);
            Assert.Equal(content[(i * 512)..((i * 512) + 4096)], all[i].Bytes);
        }

        Assert.True(rig.LargestBatch > 1);
    }

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public void Discarded_and_zeroed_ranges_read_as_zero_and_durable_requests_complete(bool ioUring)
    {
        using DiskRig rig = Rig(ioUring, Pattern(1 << 20, 4));
        Assert.Equal(DiskResult.Ok, rig.Do(DiskOperation.Discard, 4096, null, 65536, DiskOptions.Durable));
        Assert.Equal(DiskResult.Ok, rig.Do(DiskOperation.WriteZeroes, 131072, null, 1536, DiskOptions.None));
        Assert.Equal(
            DiskResult.Ok, rig.Do(DiskOperation.WriteZeroes, 262144, null, 8192, DiskOptions.Unmap | DiskOptions.Durable));
        Assert.Equal(DiskResult.Ok, rig.Write(512, Pattern(512, 5), DiskOptions.Durable));
        Assert.Equal(new byte[65536], rig.Read(4096, 65536).Data);
        Assert.Equal(new byte[1536], rig.Read(131072, 1536).Data);
        Assert.NotEqual(new byte[512], rig.Read(131072 + 1536, 512).Data);
        Assert.Equal(new byte[8192], rig.Read(262144, 8192).Data);
        Assert.Equal(Pattern(512, 5), rig.Read(512, 512).Data);
    }

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public void Each_flush_is_one_fdatasync_and_what_must_be_durable_at_once_is(bool ioUring)
    {
        using DiskRig rig = Rig(ioUring, Pattern(65536, 8));
        BlockFile file = rig.Disk.File;
        rig.Write(0, Pattern(4096, 9));
        Assert.Equal((0, 0), (file.Syncs, file.DurableWrites));
        for (int i = 1; i <= 3; i++)
        {
            Assert.Equal(DiskResult.Ok, rig.Flush());
            Assert.Equal((i, 0), (file.Syncs, file.DurableWrites));
        }

        rig.Write(4096, Pattern(4096, 10), DiskOptions.Durable);
        Assert.Equal((3, 1), (file.Syncs, file.DurableWrites));
        rig.Do(DiskOperation.Discard, 8192, null, 4096, DiskOptions.Durable);
        rig.Do(DiskOperation.WriteZeroes, 16384, null, 4096, DiskOptions.Durable);
        Assert.Equal((5, 1), (file.Syncs, file.DurableWrites));
    }

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public void A_file_cut_short_meanwhile_gives_an_error_and_what_was_there_is_no_success(bool ioUring)
    {
        using DiskRig rig = Rig(ioUring, Pattern(65536, 6));
        using (FileStream file = File.OpenWrite(Path.Combine(rig.Directory, "disk.img")))
        {
            file.SetLength(10_000);
        }

        Assert.Equal(DiskResult.Error, rig.Read(8192, 4096).Result);
        Assert.Equal(DiskResult.Error, rig.Read(32768, 4096).Result);
        Assert.Equal(DiskResult.Ok, rig.Read(0, 4096).Result);
    }

    [Fact]
    public void Zeros_are_written_where_the_file_system_cannot_make_them()
    {
        using var rig = new DiskRig();
        var file = new NoAllocateFile(3 << 20);
        rig.Disk = new RawDisk(file);
        rig.Write(0, Pattern(3 << 20, 7));
        Assert.Equal(DiskResult.Ok, rig.Do(DiskOperation.WriteZeroes, 512, null, (2 << 20) + 512, DiskOptions.None));
        Assert.Equal(DiskResult.Ok, rig.Do(DiskOperation.WriteZeroes, (3 << 20) - 512, null, 512, DiskOptions.Durable));
        Assert.Equal(DiskResult.Unsupported, rig.Do(DiskOperation.Discard, 0, null, 512, DiskOptions.None));
        byte[] expected = Pattern(3 << 20, 7);
        Array.Clear(expected, 512, (2 << 20) + 512);
        Array.Clear(expected, (3 << 20) - 512, 512);
        Assert.Equal(expected, file.Bytes);
    }

    [Fact]
    public void Mistakes_about_the_file_are_reported_with_a_remedy()
    {
        using var rig = new DiskRig();
        string Message(string path, bool readOnly = false)
        {
            return Assert.Throws<UsageException>(() =>
            {
                using HostFile file = DiskFiles.Open(path, readOnly, rig.Engine);
                DiskFiles.CheckRawLength(file);
            }).Message;
        }

        Assert.Contains("truncate -s 1G", Message(Path.Combine(rig.Directory, "none.img")), StringComparison.Ordinal);
        Assert.Contains("the file is empty", Message(rig.File("empty", [])), StringComparison.Ordinal);
        Assert.Contains("multiple of 512", Message(rig.File("odd", new byte[700])), StringComparison.Ordinal);
        Assert.Contains("neither a file", Message(rig.Directory, readOnly: true), StringComparison.Ordinal);
    }

    [Fact]
    public void The_same_image_is_opened_once_for_writing_or_often_for_reading()
    {
        using var rig = new DiskRig();
        string path = rig.File("disk.img", new byte[4096]);
        using (HostFile first = DiskFiles.Open(path, readOnly: false, rig.Engine))
        {
            Assert.Contains(
                "in use",
                Assert.Throws<UsageException>(() => DiskFiles.Open(path, readOnly: false, rig.Engine)).Message,
                StringComparison.Ordinal);
            Assert.Throws<UsageException>(() => DiskFiles.Open(path, readOnly: true, rig.Engine));
        }

        // What stands for the kernel's hold on a file that an io_uring knew: it ends later than the process.
        HostFile second = DiskFiles.Open(path, readOnly: false, rig.Engine);
        using var held = new FileDescriptor(LibC.fcntl(second.Number, LibC.F_DUPFD_CLOEXEC, 0));
        second.Dispose();

        using HostFile reader = DiskFiles.Open(path, readOnly: true, rig.Engine);
        using HostFile another = DiskFiles.Open(path, readOnly: true, rig.Engine);
        Assert.Throws<UsageException>(() => DiskFiles.Open(path, readOnly: false, rig.Engine));
    }

    [Fact]
    public void Requests_allocate_nothing_once_warm()
    {
        using DiskRig rig = Rig(ioUring: true, Pattern(1 << 20, 8));
        byte[] pinned = GC.AllocateArray<byte>(4096, pinned: true);
        IoVector[] vectors = GC.AllocateArray<IoVector>(1, pinned: true);
        vectors[0] = new IoVector(System.Runtime.InteropServices.Marshal.UnsafeAddrOfPinnedArrayElement(pinned, 0), 4096);
        nint address = System.Runtime.InteropServices.Marshal.UnsafeAddrOfPinnedArrayElement(vectors, 0);
        rig.Close();        // the loop is stopped: this thread stands in for it

        using var loop = new EventLoop();
        using var engine = new FileEngine(loop);
        using var disk = new RawDisk(DiskFiles.Open(Path.Combine(rig.Directory, "disk.img"), true, engine));
        var counter = new Counter();
        disk.Attach(counter);
        void Batch()
        {
            for (int i = 0; i < 32; i++)
            {
                disk.Enqueue(new DiskRequest(
                    DiskOperation.Read, i, (ulong)i * 4096, 4096, address, 1, DiskOptions.None));
            }

            disk.Submit();
            engine.Drain();
        }

        int batches = 0;
        Assert.Equal(0, Allocations.Least(() =>
        {
            for (int i = 0; i < 100; i++)
            {
                Batch();
                batches++;
            }
        }));
        Assert.Equal(batches * 32, counter.Ok);
    }

    private sealed class Counter : IDiskCompletions
    {
        public int Ok { get; private set; }

        public void Completed(ReadOnlySpan<DiskCompletion> completions)
        {
            foreach (DiskCompletion completion in completions)
            {
                Ok += completion.Result == DiskResult.Ok ? 1 : 0;
            }
        }
    }

    /// <summary>A file on a file system without fallocate.</summary>
    private sealed class NoAllocateFile(int length) : MemoryFile(length)
    {
        protected override int Allocate(FileIo io) => ErrnoException.EOPNOTSUPP;
    }
}

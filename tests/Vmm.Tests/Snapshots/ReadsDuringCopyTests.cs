using System.Runtime.InteropServices;
using Vmm.Backends.Disks;
using Vmm.Devices.Memory;
using Vmm.Devices.Virtio;
using Vmm.Devices.Virtio.Block;
using Vmm.Host;
using Vmm.Machines;
using Vmm.Snapshots;

namespace Vmm.Tests.Snapshots;

/// <summary>A disk is read into guest memory all the time while that is copied, as for a live snapshot.</summary>
public sealed class ReadsDuringCopyTests : IDiskCompletions, IDisposable
{
    private const ulong Size = 64 << 20, Page = PageSet.PageBytes;
    private const int AtOnce = 8, BlockBytes = 16 << 10, Blocks = 256, Passes = 12;

    private static readonly TimeSpan Patience = TimeSpan.FromSeconds(60);

    private readonly string _directory = Directory.CreateTempSubdirectory("vmm-reads-").FullName;
    private readonly EventLoop _loop = new();
    private readonly GuestRam _ram = new(Size);
    private readonly IoVector[] _vectors = GC.AllocateArray<IoVector>(AtOnce, pinned: true);
    private readonly Random _random = new(1);

    private OpenDisk? _disk;
    private Exception? _failure;
    private bool _mayRun;       // of the loop's thread, as the next
    private long _reads;

    public void Dispose()
    {
        _loop.Dispose();
        _ram.Dispose();
        Directory.Delete(_directory, recursive: true);
    }

    /// <summary>io_uring writes to the page that it has looked up when the request begins (O_DIRECT), or when the page cache is copied;
    /// threads write as this process does. None of it may be missing in the copy.</summary>
    [Theory]
    [InlineData("writeback", true)]
    [InlineData("none", true)]
    [InlineData("none", false)]
    public void What_is_read_while_memory_is_copied_is_in_the_copy(string cache, bool ioUring)
    {
        for (ulong at = 0; at < Size / 2; at += Page)
        {
            _ram.Memory.Write(new GuestAddress(at), ulong.MaxValue);
        }

        if (!WriteTrackerTests.Begins(_ram))
        {
            return;
        }

        using var disks = new DiskHost(_loop, allowIoUring: ioUring);
        _disk = disks.Open(DiskSpec.Parse($"{Image()},cache={cache}"));
        _disk.Backend.Attach(this);
        _loop.Failed += error => _failure = error;
        _loop.Start();
        using FileDescriptor file = DiskFiles.CreateNameless();
        using var copy = new MemoryCopy(file, _ram);
        _ = Collect(disks);
        copy.CopyAll();
        ulong copied = 0;
        for (int pass = 0; pass < Passes; pass++)
        {
            PageSet written = Collect(disks);
            Assert.True(SpinWait.SpinUntil(() => Interlocked.Exchange(ref _reads, 0) > AtOnce || _failure is not null, Patience));
            copied += written.Count;
            copy.Copy(written);
        }

        copy.Copy(Collect(disks, goesOn: false));
        Assert.Null(_failure);
        Assert.True(copied > Passes, $"{copied} pages");
        using var again = new GuestRam(Size);
        MemoryFile.Read(file, "memory", again.HostStart, Size, copy.Checksums);
        Assert.True(MemoryFileTests.Bytes(_ram, Size).SequenceEqual(MemoryFileTests.Bytes(again, Size)));
        _loop.Stop();
        disks.Close();
    }

    void IDiskCompletions.Completed(ReadOnlySpan<DiskCompletion> completions)
    {
        foreach (DiskCompletion completion in completions)
        {
            Assert.Equal(DiskResult.Ok, completion.Result);
            Interlocked.Increment(ref _reads);
            if (_mayRun)
            {
                Read(completion.Tag);
            }
        }

        _disk!.Backend.Submit();
    }

    /// <summary>Stands still, as a machine does in each round.</summary>
    private PageSet Collect(DiskHost disks, bool goesOn = true)
    {
        _loop.Post(() => _mayRun = false);
        Assert.True(_loop.TryHold(() => disks.IsQuiet, Patience));
        var pages = new PageSet(Size);
        _ram.CollectWritten(pages);
        _loop.Release();
        _loop.Post(() =>
        {
            _mayRun = goesOn;
            for (int tag = 0; goesOn && tag < AtOnce; tag++)
            {
                Read(tag);
            }

            _disk!.Backend.Submit();
        });
        return pages;
    }

    private void Read(int tag)
    {
        ulong to = (ulong)_random.Next((int)(Size / Page) - (BlockBytes / (int)Page)) * Page;
        _vectors[tag] = new IoVector(_ram.HostStart + (nint)to, BlockBytes);
        _disk!.Backend.Enqueue(new DiskRequest(
            DiskOperation.Read, tag, (ulong)_random.Next(Blocks) * BlockBytes, BlockBytes, Marshal.UnsafeAddrOfPinnedArrayElement(_vectors, tag), 1,
            DiskOptions.None));
    }

    private string Image()
    {
        string path = Path.Combine(_directory, "disk.img");
        byte[] content = new byte[Blocks * BlockBytes];
        new Random(2).NextBytes(content);
        File.WriteAllBytes(path, content);
        return path;
    }
}

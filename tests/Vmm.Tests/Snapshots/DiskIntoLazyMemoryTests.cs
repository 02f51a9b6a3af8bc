using System.Runtime.InteropServices;
using Vmm.Backends.Disks;
using Vmm.Devices.Memory;
using Vmm.Devices.Virtio;
using Vmm.Devices.Virtio.Block;
using Vmm.Host;
using Vmm.Machines;
using Vmm.Snapshots;
using Vmm.Tests.Host;

namespace Vmm.Tests.Snapshots;

/// <summary>A disk's requests lead into memory of a snapshot that nobody has touched yet: the kernel has to wait for it, wherever it looks it
/// up.</summary>
public sealed class DiskIntoLazyMemoryTests : IDiskCompletions, IDisposable
{
    private const ulong Size = 32 << 20, Page = PageSet.PageBytes, Chunk = MemoryChecksums.ChunkBytes;
    private const int Requests = 32, Sector = 512, Part = 3 * Sector, Bytes = 2 * Part, Gap = 4096;

    private readonly string _directory = Directory.CreateTempSubdirectory("vmm-lazy-").FullName;
    private readonly EventLoop _loop = new();
    private readonly FileDescriptor _file = DiskFiles.CreateNameless();
    private readonly IoVector[] _vectors = GC.AllocateArray<IoVector>(2 * Requests, pinned: true);
    private readonly byte[] _memory = new byte[Size], _content = new byte[Requests * Gap];
    private readonly uint[] _checksums;
    private int _done;

    public DiskIntoLazyMemoryTests()
    {
        new Random(1).NextBytes(_memory);
        new Random(2).NextBytes(_content);
        using var ram = new GuestRam(Size);
        _memory.CopyTo(AllOf(ram));
        using var copy = new MemoryCopy(_file, ram);
        copy.CopyAll();
        _checksums = copy.Checksums;
    }

    public void Dispose()
    {
        _loop.Dispose();
        _file.Dispose();
        Directory.Delete(_directory, recursive: true);
    }

    /// <summary>Every second request reads, all are in flight at once, and each has two parts, far from each other, that begin and end within
    /// pages. What is around them has to come, too.</summary>
    [Theory]
    [InlineData("uffd", "writeback", true)]
    [InlineData("uffd", "writeback", false)]
    [InlineData("uffd", "none", true)]
    [InlineData("uffd", "none", false)]
    [InlineData("map", "writeback", true)]
    [InlineData("map", "writeback", false)]
    [InlineData("map", "none", true)]
    [InlineData("map", "none", false)]
    public void Disks_read_into_it_and_write_from_it(string way, string cache, bool ioUring)
    {
        string image = Path.Combine(_directory, "disk.img");
        File.WriteAllBytes(image, _content);
        using var ram = new GuestRam(Size, saved: way == "uffd" ? new FaultServerTests.Served(_file, _checksums) : new MemoryFileTests.FileOnly(_file));
        using var disks = new DiskHost(_loop, allowIoUring: ioUring);
        OpenDisk? disk = TryOpen(disks, $"{image},cache={cache}");
        if (disk is null)
        {
            return;
        }

        disk.Backend.Attach(this);
        Assert.True(ram.Server is null || Resident(ram) == 0);
        for (int i = 0; i < Requests; i++)
        {
            Enqueue(disk, ram, i);
        }

        disk.Backend.Submit();
        long end = Environment.TickCount64 + 60_000;
        while (_done < Requests)
        {
            Assert.True(Environment.TickCount64 < end);
            _loop.Turn(100);
        }

        Assert.True(ram.Server is null || Resident(ram) < (long)(Size / Page / 2));        // the rest has still not come
        Assert.True(AllOf(ram).SequenceEqual(_memory));
        ram.Server?.Complete();
        Assert.True(AllOf(ram).SequenceEqual(_memory));
        disks.Close();
        Assert.Equal(_content, File.ReadAllBytes(image));
    }

    void IDiskCompletions.Completed(ReadOnlySpan<DiskCompletion> completions)
    {
        foreach (DiskCompletion completion in completions)
        {
            Assert.Equal(DiskResult.Ok, completion.Result);
            _done++;
        }
    }

    /// <returns>Null where the file system has no O_DIRECT, as tmpfs before Linux 6.6.</returns>
    private static OpenDisk? TryOpen(DiskHost disks, string option)
    {
        try
        {
            return disks.Open(DiskSpec.Parse(option));
        }
        catch (UsageException error) when (error.Message.Contains("cannot do cache=none", StringComparison.Ordinal))
        {
            return null;
        }
    }

    private static unsafe Span<byte> AllOf(GuestRam ram) => new((void*)ram.HostStart, (int)Size);     // SAFETY: all of its mapping

    private static unsafe long Resident(GuestRam ram)
    {
        byte[] pages = new byte[Size / Page];
        fixed (byte* first = pages)
        {
            // SAFETY: a byte for each page of the mapping.
            Assert.Equal(0, LibC.mincore((void*)ram.HostStart, (int)Size, first));
        }

        return pages.Count(static page => (page & 1) != 0);
    }

    /// <summary>Also has <see cref="_memory"/> and <see cref="_content"/> be what comes of it.</summary>
    private void Enqueue(OpenDisk disk, GuestRam ram, int i)
    {
        bool reads = i % 2 == 0;
        for (int part = 0; part < 2; part++)
        {
            ulong at = ((ulong)((part * Requests) + i) * 2 * Chunk) + (7 * Page) - Sector;
            _vectors[(2 * i) + part] = new IoVector(ram.HostStart + (nint)at, Part);
            Span<byte> memory = _memory.AsSpan((int)at, Part), content = _content.AsSpan((i * Gap) + (part * Part), Part);
            if (reads)
            {
                content.CopyTo(memory);
            }
            else
            {
                memory.CopyTo(content);
            }
        }

        disk.Backend.Enqueue(new DiskRequest(
            reads ? DiskOperation.Read : DiskOperation.Write, i, (ulong)i * Gap, Bytes, Marshal.UnsafeAddrOfPinnedArrayElement(_vectors, 2 * i), 2,
            DiskOptions.None));
    }
}

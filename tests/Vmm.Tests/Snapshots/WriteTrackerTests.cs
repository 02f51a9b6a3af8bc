using Vmm.Backends.Disks;
using Vmm.Devices.Memory;
using Vmm.Host;
using Vmm.Machines;
using Vmm.Snapshots;

namespace Vmm.Tests.Snapshots;

/// <summary>Which pages were written to, by this process or by the kernel for it.</summary>
public sealed class WriteTrackerTests
{
    private const ulong Page = PageSet.PageBytes, Size = 64 << 20;

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void Writes_are_found_whoever_writes(bool shared)
    {
        using var ram = new GuestRam(Size, shared);
        Fill(ram, 0, 32 << 20);
        if (!Begins(ram))
        {
            return;
        }

        Assert.Empty(Written(ram));
        ram.Memory.Write(new GuestAddress(5 * Page), 77UL);
        ram.Memory.Write(new GuestAddress((40UL << 20) + 3), (byte)1);         // nobody had touched that one
        ReadFileInto(ram, 9 * Page);
        List<ulong> found = Written(ram);
        Assert.Superset(new HashSet<ulong> { 5, 9, (40UL << 20) / Page }, new HashSet<ulong>(found));
        Assert.All(found, static page => Assert.True(page is 5 or 9 || page >> 9 == 40 / 2));     // the rest of a huge page at most
        Assert.Empty(Written(ram));
        ram.Memory.Write(new GuestAddress(5 * Page), 77UL);                   // the same value is a write, too
        Assert.True(ram.Release(ram.HostStart + (nint)(20 * Page), (nuint)(2 * Page)));
        Assert.Equal([5UL, 20UL, 21UL], Written(ram));
        ram.Memory.Write(new GuestAddress(21 * Page), 1UL);
        Assert.Equal([21UL], Written(ram));
    }

    /// <summary>A machine that was restored without a copy.</summary>
    [Fact]
    public void Writes_to_memory_that_is_mapped_from_a_file_are_found()
    {
        using FileDescriptor file = DiskFiles.CreateNameless();
        using (var first = new GuestRam(Size))
        {
            Fill(first, 0, 8 << 20);
            using var copy = new MemoryCopy(file, first);
            copy.CopyAll();
        }

        using var ram = new GuestRam(Size, saved: new MemoryFileTests.FileOnly(file));
        if (!Begins(ram))
        {
            return;
        }

        _ = ram.Memory.Read<ulong>(new GuestAddress(7 * Page));
        _ = Written(ram);               // with what was read for the first time
        _ = ram.Memory.Read<ulong>(new GuestAddress(7 * Page));
        ram.Memory.Write(new GuestAddress(8 * Page), 1UL);
        Assert.Equal([8UL], Written(ram));
        Assert.True(ram.Release(ram.HostStart + (nint)(64 * Page), (nuint)(2 * Page)));       // a mapping of its own from here on
        Assert.Equal([64UL, 65UL], Written(ram));
        ram.Memory.Write(new GuestAddress(65 * Page), 1UL);
        ReadFileInto(ram, 64 * Page);
        Assert.Equal([64UL, 65UL], Written(ram));
    }

    [Fact]
    public void A_later_pass_copies_what_changed_and_only_that()
    {
        using FileDescriptor file = DiskFiles.CreateNameless();
        using var ram = new GuestRam(Size);
        Fill(ram, 0, 4 << 20);
        using var copy = new MemoryCopy(file, ram);
        copy.CopyAll();
        Assert.Equal(4UL << 20, copy.Written);
        ram.Memory.Write(new GuestAddress(3 * Page), 1UL);
        ram.Memory.Write(new GuestAddress(50UL << 20), 2UL);
        ram.Memory.Write(new GuestAddress(10 * Page), new byte[Page]);
        var changed = new PageSet(Size);
        changed.Add(3);
        changed.Add(10);
        changed.Add((50UL << 20) / Page);
        copy.Copy(changed);
        Assert.Equal(4UL << 20, copy.Written);              // one more, one less
        Statx status = HostFile.Status(file, "memory");
        Assert.InRange(status.Blocks * 512, copy.Written, copy.Written + (128 << 10));
        using var again = new GuestRam(Size);
        MemoryFile.Read(file, "memory", again.HostStart, Size, copy.Checksums);
        Assert.True(MemoryFileTests.Bytes(ram, Size).SequenceEqual(MemoryFileTests.Bytes(again, Size)));
    }

    internal static bool Begins(GuestRam ram)
    {
        string? obstacle = ram.TrackWrites();
        Assert.Equal(obstacle is null, ram.IsTracked);
        Assert.True(obstacle is null || Environment.OSVersion.Version < new Version(6, 7) || obstacle.Contains("not permitted", StringComparison.Ordinal), obstacle);
        return obstacle is null;
    }

    private static void Fill(GuestRam ram, ulong from, ulong bytes)
    {
        for (ulong at = from; at < from + bytes; at += Page)
        {
            ram.Memory.Write(new GuestAddress(at + 8), at | 1);
        }
    }

    private static void ReadFileInto(GuestRam ram, ulong at)
    {
        using Microsoft.Win32.SafeHandles.SafeFileHandle file = File.OpenHandle("/etc/passwd");
        Assert.True(ram.Memory.ReadFile(new GuestAddress(at), 16, file, 0) > 0);
    }

    private static List<ulong> Written(GuestRam ram)
    {
        var pages = new PageSet(Size);
        ram.CollectWritten(pages);
        var found = new List<ulong>();
        for (ulong page = 0; page < pages.Pages; page++)
        {
            if (pages.Contains(page))
            {
                found.Add(page);
            }
        }

        return found;
    }
}

using System.Text;
using Vmm.Devices.Memory;
using Vmm.Host;
using Vmm.Machines;
using Vmm.Snapshots;
using Vmm.Tests.Disks;

namespace Vmm.Tests.Snapshots;

/// <summary>A snapshot and a diff to it become one, or are refused.</summary>
public sealed class MergeTests : IDisposable
{
    private const ulong Page = PageSet.PageBytes, Size = 64 << 20;

    private static readonly string[] FilesOfDiff = ["snapshot.json", "state.json", "memory.crc32c", "memory.pages", "memory"];

    private readonly string _folder = Directory.CreateTempSubdirectory("vmm-merge-").FullName;
    private readonly GuestRam _ram = new(Size);

    public MergeTests()
    {
        for (ulong at = 0; at < 2 << 20; at += Page)
        {
            Write(at, at | 1);
        }

        Write(40 << 20, 40);
        MakeBase();
        Write(3 * Page, 77);
        Clear(5 * Page);                    // a page of zeros is a difference, too
        Clear(40 << 20);                    // and a chunk of them
        Write(50 << 20, 50);                // what was a hole
        Write(Size - 8, 99);
        MakeDiff("diff");
    }

    private string Whole => Path.Combine(_folder, "whole");

    public void Dispose()
    {
        _ram.Dispose();
        Directory.Delete(_folder, recursive: true);
    }

    [Fact]
    public void Both_together_are_the_memory_at_the_time_of_the_diff()
    {
        byte[] before = File.ReadAllBytes(In("base", "memory"));
        Assert.Equal((2UL << 20) - Page + (2 * Page), Merge());
        Assert.True(Content(Whole).SequenceEqual(MemoryFileTests.Bytes(_ram, Size)));
        Assert.Equal(File.ReadAllBytes(In("diff", "memory.crc32c")), File.ReadAllBytes(Path.Combine(Whole, "memory.crc32c")));
        Assert.Equal("""{"state":"diff"}""", File.ReadAllText(Path.Combine(Whole, "state.json")));
        Assert.Equal(before, File.ReadAllBytes(In("base", "memory")));
        Assert.True(HostFile.TryStatus(Path.Combine(Whole, "memory"), out Statx status));
        Assert.InRange(status.Blocks * 512, 2UL << 20, (2UL << 20) + (128 << 10));
        using Snapshot merged = Snapshot.Open(Whole);
        using Snapshot diff = Snapshot.OpenAny(In("diff"));
        Assert.Equal(diff.Head.Id, merged.Head.Id);
        Assert.Equal(5UL, diff.Pages!.Count);
    }

    /// <summary>A diff to a diff is merged with what came of the first two.</summary>
    [Fact]
    public void A_chain_is_merged_from_its_base_on()
    {
        Write(7 * Page, 1234);
        MakeDiff("second", to: "diff", 7);
        Assert.Contains("is a diff itself: merge it with its own base first", Refusal("diff", "second"), StringComparison.Ordinal);
        Merge();
        SnapshotMerge.Merge(Whole, In("second"), In("all"));
        Assert.True(Content(In("all")).SequenceEqual(MemoryFileTests.Bytes(_ram, Size)));
    }

    [Fact]
    public void What_does_not_belong_together_is_refused()
    {
        Assert.Contains("is whole already", Refusal("base", "base"), StringComparison.Ordinal);
        Directory.Move(In("base"), In("old"));
        MakeBase();
        Assert.Contains($"base: is not what {In("diff")} is a diff to; that was in {In("base")}", Refusal("base", "diff"), StringComparison.Ordinal);
        SnapshotMerge.Merge(In("old"), In("diff"), Whole);
        Assert.Contains("is there already", Refusal("old", "diff"), StringComparison.Ordinal);
        Assert.Contains("is there already", Assert.Throws<UsageException>(() => SnapshotMerge.Merge(In("old"), In("diff"), In("old"))).Message, StringComparison.Ordinal);
        UsageException error = Assert.Throws<UsageException>(() => Snapshot.Open(In("diff")));
        Assert.Equal($"{In("diff")}: is only a diff to {In("base")}; 'vmm snapshot merge {In("base")} {In("diff")} NEW' makes a whole one of the two", error.Message);
    }

    [Fact]
    public void What_was_cut_or_flipped_is_refused_and_nothing_is_left()
    {
        foreach ((string directory, string name) in FilesOfDiff.Select(static name => ("diff", name)).Append(("base", "memory")))
        {
            string path = In(directory, name);
            byte[] whole = File.ReadAllBytes(path);
            foreach (int length in (int[])[0, whole.Length / 2, whole.Length - 1])
            {
                File.WriteAllBytes(path, whole[..length]);
                Assert.Contains(name, Refusal(), StringComparison.Ordinal);
            }

            // In memory: where there is something, for holes of a diff are not looked at.
            foreach (int at in name == "memory" ? [(int)(3 * Page), directory == "diff" ? 50 << 20 : (int)Page] : (int[])[0, whole.Length / 2, whole.Length - 1])
            {
                byte[] flipped = [.. whole];
                flipped[at] ^= 0x10;
                File.WriteAllBytes(path, flipped);
                Assert.Contains(name, Refusal(), StringComparison.Ordinal);
            }

            File.Delete(path);
            Assert.Contains(name, Refusal(), StringComparison.Ordinal);
            File.WriteAllBytes(path, whole);
        }

        Merge();
    }

    [LoopFact]      // root, that is
    public void On_a_full_file_system_nothing_is_left()
    {
        string small = Directory.CreateDirectory(In("small")).FullName;
        Assert.Equal(0, SnapshotTests.Run("mount", "-t", "tmpfs", "-o", "size=1m", "none", small));
        try
        {
            HostException error = Assert.Throws<HostException>(() => SnapshotMerge.Merge(In("base"), In("diff"), Path.Combine(small, "whole")));
            Assert.Contains("No space left on device", error.Message, StringComparison.Ordinal);
            Assert.Empty(Directory.GetFileSystemEntries(small));
            Assert.Equal(0, SnapshotTests.Run("mount", "-o", "remount,ro", small));
            Assert.Contains("ead-only file system", Assert.ThrowsAny<Exception>(
                () => SnapshotMerge.Merge(In("base"), In("diff"), Path.Combine(small, "whole"))).Message, StringComparison.Ordinal);
        }
        finally
        {
            Assert.Equal(0, SnapshotTests.Run("umount", small));
        }
    }

    private string In(params string[] names) => Path.Combine([_folder, .. names]);

    private ulong Merge() => SnapshotMerge.Merge(In("base"), In("diff"), Whole);

    private string Refusal(string before = "base", string diff = "diff")
    {
        string[] entries = Directory.GetFileSystemEntries(_folder);
        string message = Assert.Throws<UsageException>(() => SnapshotMerge.Merge(In(before), In(diff), Whole)).Message;
        Assert.Equal(entries, Directory.GetFileSystemEntries(_folder));
        return message;
    }

    private static byte[] Content(string directory)
    {
        using Snapshot snapshot = Snapshot.Open(directory, MemoryWay.Read);
        using var again = new GuestRam(Size, saved: snapshot);
        return MemoryFileTests.Bytes(again, Size).ToArray();
    }

    private void Write(ulong at, ulong value) => _ram.Memory.Write(new GuestAddress(at), value);

    private void Clear(ulong page) => _ram.Memory.Write(new GuestAddress(page), new byte[Page]);

    private void MakeBase() => Make("base", null, static copy => copy.CopyAll());

    private void MakeDiff(string name, string to = "base", params ulong[] pages)
    {
        using Snapshot from = Snapshot.OpenAny(In(to));
        Make(name, from, copy =>
        {
            if (from.Head.Base is null)
            {
                copy.CopyDifferent(from);
                return;
            }

            var some = new PageSet(Size);
            Array.ForEach(pages, page => some.Add(page));
            copy.Copy(some);
        });
    }

    /// <summary>As <see cref="SnapshotWriter"/>, of a machine that is not there.</summary>
    private void Make(string name, Snapshot? from, Action<MemoryCopy> fill)
    {
        using PartialDirectory files = PartialDirectory.Create(In(name), isDurable: false);
        using FileDescriptor memory = files.CreateFile(SnapshotFiles.Memory);
        using var copy = new MemoryCopy(memory, _ram, from?.Checksums.AsSpan().ToArray());
        fill(copy);
        byte[] state = Encoding.UTF8.GetBytes($$"""{"state":"{{name}}"}""");
        byte[] checksums = MemoryChecksums.ToBytes(copy.Checksums), pages = copy.Pages.ToBytes();
        files.CreateFile(SnapshotFiles.State, state);
        files.CreateFile(SnapshotFiles.MemoryChecksums, checksums);
        if (from is not null)
        {
            files.CreateFile(SnapshotFiles.Pages, pages);
        }

        SnapshotHead head = SnapshotHead.Parse(SnapshotHeadTests.Signed(SnapshotHeadTests.Example)) with
        {
            Id = SnapshotHead.NewId(),
            State = FileRecord.Of(state),
            Checksums = FileRecord.Of(checksums),
            Base = from is null ? null : new BaseRecord(from.Directory, from.Head.Id, from.Head.Checksums, FileRecord.Of(pages)),
        };
        files.CreateFile(SnapshotFiles.Head, head.ToBytes());
        files.Complete();
    }
}

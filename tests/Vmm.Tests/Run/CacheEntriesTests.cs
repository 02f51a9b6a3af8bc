using Vmm.Host;
using Vmm.Run.Cache;

namespace Vmm.Tests.Run;

/// <summary><c>--cache-entries</c>, and what tells that an entry is of no use any more.</summary>
public sealed class CacheEntriesTests
{
    [Theory]
    [InlineData("1", 1, CacheEntries.UsualUses)]
    [InlineData("64", 64, CacheEntries.UsualUses)]
    [InlineData("4,uses=100", 4, 100)]
    [InlineData("2,uses=0", 2, 0)]
    public void It_is_a_number_and_perhaps_how_often(string text, int count, int uses) =>
        Assert.Equal(new CacheEntries(count, uses), CacheEntries.Parse(text));

    [Theory]
    [InlineData("0", "--cache-entries 0: takes a number from 1 to 64")]
    [InlineData("65", "--cache-entries 65: takes a number from 1 to 64")]
    [InlineData("", "--cache-entries : takes a number from 1 to 64")]
    [InlineData("-1", "--cache-entries -1: takes a number from 1 to 64")]
    [InlineData("1,uses", "--cache-entries 1,uses: uses= takes a number up to 1000000")]
    [InlineData("1,use=4", "--cache-entries 1,use=4: uses= takes a number up to 1000000")]
    [InlineData("1,uses=1000001", "--cache-entries 1,uses=1000001: uses= takes a number up to 1000000")]
    public void Anything_else_is_refused(string text, string why) =>
        Assert.StartsWith(why, Assert.Throws<UsageException>(() => CacheEntries.Parse(text)).Message, StringComparison.Ordinal);

    /// <summary>A time that is set back changes the inode, and that time nobody can set.</summary>
    [Fact]
    public void A_file_that_was_changed_and_got_its_old_time_back_is_another()
    {
        string path = Path.GetTempFileName();
        DateTime time = DateTime.UtcNow - TimeSpan.FromDays(1);
        File.SetLastWriteTimeUtc(path, time);
        FileStamp before = FileStamp.TryOf(path)!.Value;
        Thread.Sleep(50);
        File.SetLastWriteTimeUtc(path, time);
        FileStamp after = FileStamp.TryOf(path)!.Value;
        Assert.NotEqual(before, after);
        Assert.Equal(before.Text.Split(' ')[..4], after.Text.Split(' ')[..4]);
        File.Delete(path);
        Assert.Null(FileStamp.TryOf(path));
        Assert.Null(FileStamp.TryOf("/"));
        Assert.Null(FileStamp.TryOf("/dev/null"));
    }

    /// <summary>Within one tick of the kernel's clock a file may be changed again, and look the same.</summary>
    [Fact]
    public void A_file_that_was_changed_a_moment_ago_is_not_settled()
    {
        var stamp = new FileStamp("", TimeSpan.FromSeconds(1000.123), IsCoarse: false);
        Assert.False(stamp.IsSettled(TimeSpan.FromSeconds(1000.133)));
        Assert.True(stamp.IsSettled(TimeSpan.FromSeconds(1000.2)));
        Assert.True(stamp.IsSettled(TimeSpan.FromSeconds(1)));         // the clock was set back: no guess
        Assert.False((stamp with { IsCoarse = true }).IsSettled(TimeSpan.FromSeconds(1002)));
        Assert.True((stamp with { IsCoarse = true }).IsSettled(TimeSpan.FromSeconds(1003)));
    }

    [Fact]
    public void What_was_made_of_a_file_that_changed_is_stale()
    {
        DirectoryInfo folder = Directory.CreateTempSubdirectory("vmm-origin-");
        string file = Path.Combine(folder.FullName, "a kernel"), saved = Path.Combine(folder.FullName, "origin");
        File.WriteAllText(file, "one");
        var origin = new BootOrigin();
        origin.Add(FileStamp.TryOf(file)!.Value, file);
        File.WriteAllText(saved, origin.ToString());
        Assert.False(BootOrigin.IsStale(saved));
        File.WriteAllText(saved, origin.ToString().Replace(SmallFile.BootId!, "another-boot", StringComparison.Ordinal));
        Assert.True(BootOrigin.IsStale(saved));
        File.WriteAllText(saved, origin.ToString());
        File.WriteAllText(file, "four");
        Assert.True(BootOrigin.IsStale(saved));
        File.Delete(file);
        Assert.True(BootOrigin.IsStale(saved));
        File.WriteAllText(saved, "nonsense");
        Assert.True(BootOrigin.IsStale(saved));
        Assert.True(BootOrigin.IsStale(Path.Combine(folder.FullName, "nowhere")));
        folder.Delete(recursive: true);
    }
}

using Vmm.Host;
using Vmm.Snapshots;

namespace Vmm.Tests.Snapshots;

/// <summary>A directory that is there whole or not at all.</summary>
public sealed class PartialDirectoryTests : IDisposable
{
    private readonly string _folder = Directory.CreateTempSubdirectory("vmm-partial-").FullName;

    private string Name => Path.Combine(_folder, "snap");

    public void Dispose() => Directory.Delete(_folder, recursive: true);

    [Fact]
    public void It_has_its_name_when_it_is_complete_and_is_for_its_owner_only()
    {
        using (PartialDirectory directory = PartialDirectory.Create(Name + "/"))
        {
            directory.CreateFile("a", "hello"u8);
            Assert.False(Directory.Exists(Name));
            directory.Complete();
        }

        Assert.Equal("hello", File.ReadAllText(Path.Combine(Name, "a")));
        Assert.Equal(UnixFileMode.UserRead | UnixFileMode.UserWrite, File.GetUnixFileMode(Path.Combine(Name, "a")));
        Assert.Equal(UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute, File.GetUnixFileMode(Name));
        Assert.Single(Directory.GetFileSystemEntries(_folder));
    }

    [Fact]
    public void What_fails_leaves_nothing()
    {
        using (PartialDirectory directory = PartialDirectory.Create(Name))
        {
            directory.CreateFile("a", "hello"u8);
        }

        Assert.Empty(Directory.GetFileSystemEntries(_folder));
    }

    [Fact]
    public void What_a_killed_one_left_is_taken_over()
    {
        MakePartial();
        File.WriteAllText(Path.Combine(Name + ".partial", "memory"), "old");
        File.WriteAllText(Path.Combine(Name + ".partial", "disk10.qcow2"), "old");
        using (PartialDirectory directory = PartialDirectory.Create(Name))
        {
            directory.CreateFile("a", "new"u8);
            directory.Complete();
        }

        Assert.Equal([Path.Combine(Name, "a")], Directory.GetFileSystemEntries(Name));
    }

    [Theory]
    [InlineData("thesis.odt")]
    [InlineData("disk.qcow2")]
    [InlineData("diskette.qcow2")]
    public void A_directory_with_other_files_is_left_as_it_is(string file)
    {
        MakePartial();
        string path = Path.Combine(Name + ".partial", file);
        File.WriteAllText(path, "mine");
        File.WriteAllText(Path.Combine(Name + ".partial", "memory"), "mine");
        AssertInTheWay();
        Assert.Equal("mine", File.ReadAllText(path));
        Assert.Equal("mine", File.ReadAllText(Path.Combine(Name + ".partial", "memory")));
    }

    [Fact]
    public void A_link_is_not_followed_and_what_others_may_write_to_is_not_used()
    {
        string target = Directory.CreateDirectory(Path.Combine(_folder, "victim")).FullName;
        File.WriteAllText(Path.Combine(target, "memory"), "mine");
        File.CreateSymbolicLink(Name + ".partial", target);
        AssertInTheWay();
        Assert.Equal("mine", File.ReadAllText(Path.Combine(target, "memory")));

        File.Delete(Name + ".partial");
        File.WriteAllText(Name + ".partial", "a file");
        AssertInTheWay();
        File.Delete(Name + ".partial");
        MakePartial();
        File.SetUnixFileMode(Name + ".partial", (UnixFileMode)0x1ff);
        AssertInTheWay();
    }

    [Fact]
    public void What_is_there_stays_and_two_at_once_are_one()
    {
        using PartialDirectory first = PartialDirectory.Create(Name);
        first.CreateFile("a", "first"u8);
        UsageException busy = Assert.Throws<UsageException>(() => PartialDirectory.Create(Name));
        Assert.Equal($"{Name}: another snapshot is being written there", busy.Message);
        first.Complete();
        UsageException there = Assert.Throws<UsageException>(() => PartialDirectory.Create(Name));
        Assert.Equal($"{Name}: is there already; give another name, or remove it first", there.Message);
        Assert.Equal("first", File.ReadAllText(Path.Combine(Name, "a")));
    }

    [Fact]
    public void One_that_comes_up_meanwhile_is_not_replaced()
    {
        using (PartialDirectory directory = PartialDirectory.Create(Name))
        {
            directory.CreateFile("a", "mine"u8);
            Directory.CreateDirectory(Name);
            File.WriteAllText(Path.Combine(Name, "b"), "theirs");
            Assert.Throws<UsageException>(directory.Complete);
        }

        Assert.Equal([Path.Combine(Name, "b")], Directory.GetFileSystemEntries(Name));
        Assert.Single(Directory.GetFileSystemEntries(_folder));
    }

    [Theory]
    [InlineData("", "is missing")]
    [InlineData("/", "is missing")]
    [InlineData("/nowhere/at/all", "no such file or directory")]
    public void A_name_that_cannot_be_is_a_users_mistake(string name, string problem)
    {
        UsageException error = Assert.Throws<UsageException>(() => PartialDirectory.Create(name));
        Assert.Contains(problem, error.Message, StringComparison.Ordinal);
    }

    private void MakePartial() => Directory.CreateDirectory(
        Name + ".partial", UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute);

    private void AssertInTheWay()
    {
        UsageException error = Assert.Throws<UsageException>(() => PartialDirectory.Create(Name));
        Assert.StartsWith($"{Name}.partial: is in the way", error.Message, StringComparison.Ordinal);
    }
}

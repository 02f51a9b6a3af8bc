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
        Directory.CreateDirectory(Name + ".partial");
        File.WriteAllText(Path.Combine(Name + ".partial", "memory"), "old");
        using (PartialDirectory directory = PartialDirectory.Create(Name))
        {
            directory.CreateFile("a", "new"u8);
            directory.Complete();
        }

        Assert.Equal([Path.Combine(Name, "a")], Directory.GetFileSystemEntries(Name));
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
}

using Vmm.Host;

namespace Vmm.Tests.Host;

/// <summary>Files that the user asked results to be written to.</summary>
public sealed class OutputFileTests : IDisposable
{
    private readonly string _folder = Directory.CreateTempSubdirectory("vmm-output-").FullName;

    public void Dispose() => Directory.Delete(_folder, recursive: true);

    [Fact]
    public void A_new_file_that_nothing_was_written_to_is_gone_again()
    {
        OutputFile.Open(Named("new"), "--log").Dispose();
        Assert.False(File.Exists(Named("new")));
    }

    [Fact]
    public void A_file_that_was_there_keeps_its_content_until_something_replaces_it()
    {
        File.WriteAllText(Named("old"), "a long result of before");
        OutputFile.Open(Named("old"), "--log").Dispose();
        Assert.Equal("a long result of before", File.ReadAllText(Named("old")));
        using (OutputFile file = OutputFile.Open(Named("old"), "--log"))
        {
            file.Write("new "u8);
            file.Write("result"u8);
            Assert.Null(file.Failure);
        }

        Assert.Equal("new result", File.ReadAllText(Named("old")));
    }

    [Fact]
    public void It_is_refused_where_it_cannot_be_and_the_option_is_named()
    {
        Assert.Equal(
            $"--log {Named("none/file")}: there is no such directory",
            Assert.Throws<UsageException>(() => OutputFile.Open(Named("none/file"), "--log")).Message);
        Assert.Equal(
            $"--log {_folder}: is a directory", Assert.Throws<UsageException>(() => OutputFile.Open(_folder, "--log")).Message);
    }

    /// <summary>By either kind of lock: this program's, or that of .NET's files.</summary>
    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public void What_is_in_use_is_refused_and_stays_as_it_is(bool byDotNet)
    {
        File.WriteAllText(Named("disk"), "precious");
        using IDisposable user = byDotNet ? new FileStream(Named("disk"), FileMode.Open, FileAccess.ReadWrite, FileShare.None)
            : OutputFile.Open(Named("disk"), "--json");
        UsageException error = Assert.Throws<UsageException>(() => OutputFile.Open(Named("disk"), "--log"));
        Assert.Contains("it is in use", error.Message, StringComparison.Ordinal);
        user.Dispose();
        Assert.Equal("precious", File.ReadAllText(Named("disk")));
    }

    [Fact]
    public void A_full_disk_is_reported_once_at_the_end_and_throws_nothing()
    {
        using OutputFile file = OutputFile.Open("/dev/full", "--log");
        file.Write("one"u8);
        file.Write("two"u8);
        Assert.Equal("--log /dev/full: No space left on device: it is not complete", file.Failure);
    }

    [Fact]
    public void A_pipe_has_many_writers()
    {
        (FileDescriptor read, FileDescriptor write) = Pipe.Create();
        using (read)
        using (write)
        {
            string path = $"/proc/self/fd/{write.Number}";
            using OutputFile first = OutputFile.Open(path, "--log");
            using OutputFile second = OutputFile.Open(path, "--json");
            first.Write("a"u8);
            second.Write("b"u8);
            Assert.Equal((null, null), (first.Failure, second.Failure));
        }
    }

    private string Named(string name) => Path.Combine(_folder, name);
}

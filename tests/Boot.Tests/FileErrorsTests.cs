namespace Vmm.Boot.Tests;

public sealed class FileErrorsTests : IDisposable
{
    private readonly TemporaryFiles _files = new();

    public void Dispose() => _files.Dispose();

    [Fact]
    public void Errors_of_the_system_get_its_messages()
    {
        using var full = new FileStream("/dev/full", FileMode.Open, FileAccess.Write, FileShare.ReadWrite, bufferSize: 0);
        Assert.Equal("No space left on device", Describe(() => full.Write("x"u8)));
        Assert.Equal("File exists", Describe(() => Directory.CreateSymbolicLink(_files.Directory, "x")));
    }

    [Fact]
    public void Errors_with_exceptions_of_the_framework_get_our_messages()
    {
        string file = Path.Combine(_files.Directory, "file");
        File.WriteAllBytes(file, [1]);
        Assert.Equal("no such file", Describe(() => File.ReadAllBytes(file + "s")));
        Assert.Equal("no such file or directory", Describe(() => File.ReadAllBytes(Path.Combine(_files.Directory, "none/none"))));
        Assert.Equal("permission denied", Describe(() => File.ReadAllBytes(_files.Directory)));
        using (File.Open(file, FileMode.Open, FileAccess.ReadWrite, FileShare.None))
        {
            Assert.Equal("is in use: something else writes to it", Describe(() => File.ReadAllBytes(file)));
        }

        // What FileStream.SetLength makes of EFBIG; not every file system has it.
        Assert.Equal("is larger than the file size limit (ulimit -f), or than its file system can have", FileErrors.Describe(new ArgumentOutOfRangeException()));
    }

    [Fact]
    public void Exceptions_that_are_not_about_files_have_no_description() => Assert.Null(FileErrors.Describe(new InvalidOperationException("x")));

    private static string? Describe(Action action) => FileErrors.Describe(Record.Exception(action)!);
}

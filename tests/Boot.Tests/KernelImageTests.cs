namespace Vmm.Boot.Tests;

public sealed class KernelImageTests : IDisposable
{
    private readonly TemporaryFiles _files = new();

    public void Dispose() => _files.Dispose();

    [Fact]
    public void A_kernel_is_opened_from_a_file()
    {
        using KernelImage kernel = KernelImage.Open(_files.Write(MadeUp.BzImage()));
        Assert.Equal(KernelKind.BzImage, kernel.Kind);
    }

    [Fact]
    public void What_is_no_readable_file_is_refused_in_one_line_that_names_it()
    {
        AssertRefused(Path.Combine(_files.Directory, "none"), "no such file");
        AssertRefused(Path.Combine(_files.Directory, "none/none"), "no such file");
        AssertRefused(_files.Directory, "is a directory");
        AssertRefused(_files.Write([]), "is empty");
        AssertRefused("/dev/null", "is empty", "not a regular file");
        AssertRefused("/dev/zero", "is empty", "not a regular file");
        AssertRefused("", "is not a path");
        AssertRefused(new string('x', 5000), "too long", "no such file");
    }

    [Fact]
    public void A_file_that_becomes_shorter_while_it_is_read_is_refused()
    {
        string path = _files.Write(MadeUp.BzImage());
        using KernelImage kernel = KernelImage.Open(path);
        File.WriteAllBytes(path, new byte[100]);
        using var test = new Vmm.Tests.Shared.TestMemory(32 << 20);
        var error = Assert.Throws<BootException>(() => KernelLoader.Load(test.Memory, kernel, new BootRequest()));
        Assert.Contains("became shorter", error.Message, StringComparison.Ordinal);
    }

    private static void AssertRefused(string path, params string[] because)
    {
        var error = Assert.Throws<BootException>(() => KernelImage.Open(path));
        Assert.StartsWith($"kernel {path}: ", error.Message, StringComparison.Ordinal);
        Assert.Contains(because, reason => error.Message.Contains(reason, StringComparison.Ordinal));
        Assert.DoesNotContain('\n', error.Message);
    }
}

using Vmm.Disks;

namespace Vmm.Tests.Disks;

public sealed class DiskFileTests : IDisposable
{
    private readonly DirectoryInfo _folder = Directory.CreateTempSubdirectory("vmm-disk");

    public void Dispose() => _folder.Delete(recursive: true);

    [Fact]
    public void A_good_image_opens_with_its_length()
    {
        using var disk = new RawDisk(Image(1024), readOnly: false);
        Assert.Equal(1024UL, disk.Length);
    }

    [Theory]
    [InlineData(0, "is empty")]
    [InlineData(1, "no multiple of 512")]
    [InlineData(511, "no multiple of 512")]
    [InlineData(1025, "no multiple of 512")]
    public void Images_of_odd_lengths_are_refused(int length, string because) => Refused(Image(length), because);

    [Fact]
    public void A_missing_image_is_refused_and_not_created()
    {
        string path = Path.Combine(_folder.FullName, "none.img");
        Refused(path, "no such file");
        Assert.False(File.Exists(path));
    }

    [Fact]
    public void A_directory_is_refused() => Refused(_folder.FullName, "is a directory");

    [Fact]
    public void The_same_image_twice_for_writing_is_refused()
    {
        string path = Image(512);
        using var first = new RawDisk(path, readOnly: false);
        Refused(path, "in use");
    }

    [Fact]
    public void An_image_that_is_written_cannot_be_read_elsewhere_and_the_other_way_round()
    {
        string path = Image(512);
        using (new RawDisk(path, readOnly: false))
        {
            Assert.Throws<UsageException>(() => new RawDisk(path, readOnly: true));
        }

        using (new RawDisk(path, readOnly: true))
        {
            using var another = new RawDisk(path, readOnly: true);
            Refused(path, "in use");
        }
    }

    private string Image(int length)
    {
        string path = Path.Combine(_folder.FullName, $"{length}.img");
        File.WriteAllBytes(path, new byte[length]);
        return path;
    }

    private static void Refused(string path, string because)
    {
        var error = Assert.Throws<UsageException>(() => new RawDisk(path, readOnly: false));
        Assert.Contains(because, error.Message, StringComparison.Ordinal);
        Assert.Contains(path, error.Message, StringComparison.Ordinal);
        Assert.DoesNotContain('\n', error.Message);
    }
}

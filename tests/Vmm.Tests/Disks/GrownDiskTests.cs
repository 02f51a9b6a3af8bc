using Vmm.Backends.Disks;
using Vmm.Backends.Disks.Qcow2;
using Vmm.Devices.Virtio;
using Vmm.Devices.Virtio.Block;

namespace Vmm.Tests.Disks;

public sealed class GrownDiskTests
{
    private const ulong Before = 1 << 20, After = 5 << 20;

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public void A_raw_file_grows_under_its_disk(bool ioUring)
    {
        using var rig = new DiskRig(ioUring);
        byte[] content = new byte[Before];
        new Random(1).NextBytes(content);
        string path = rig.File("disk.img", content);
        rig.Disk = new RawDisk(DiskFiles.Open(path, false, rig.Engine));
        Assert.Null(Grow(rig, After));
        Assert.Equal((After, (long)After), (rig.Disk.Length, new FileInfo(path).Length));
        Assert.Equal(content, rig.Read(0, content.Length).Data);
        Assert.Equal((DiskResult.Ok, 0), (rig.Read(After - 4096, 4096).Result, rig.Read(After - 4096, 4096).Data.Max()));
        Assert.Equal(DiskResult.Ok, rig.Write(After - 512, content[..512]));
        rig.Close();
        Assert.Equal(content[..512], File.ReadAllBytes(path)[^512..]);
    }

    [Fact]
    public void A_file_that_the_host_will_not_have_so_long_stays_as_it_is()
    {
        using var rig = new DiskRig();
        rig.Disk = new RawDisk(DiskFiles.Open(rig.File("disk.img", new byte[Before]), false, rig.Engine));
        Assert.NotNull(Grow(rig, long.MaxValue & ~511UL));      // EFBIG on ext4 and on most
        Assert.Equal(Before, rig.Disk.Length);
    }

    [QemuTheory]
    [InlineData("cluster_size=65536", 1UL << 42)]
    [InlineData("cluster_size=4096", 1UL << 30)]
    [InlineData("cluster_size=65536,compat=0.10", 1UL << 40)]
    public void An_image_grows_as_far_as_its_table_reaches(string options, ulong after)
    {
        using var rig = new DiskRig();
        string path = Path.Combine(rig.Directory, "disk.qcow2");
        QemuImg.Create(path, options, $"{Before}");
        Open(rig, path);
        byte[] data = new byte[4096];
        new Random(2).NextBytes(data);
        Assert.Equal(DiskResult.Ok, rig.Write(0, data));
        Assert.Null(Grow(rig, after));
        Assert.Equal(DiskResult.Ok, rig.Write(after - 4096, data));
        Assert.Equal(0, rig.Read(after / 2, 4096).Data.Max());
        string? problem = Grow(rig, after * 1024);
        Assert.Contains($"qemu-img resize {path} {after * 1024}", problem, StringComparison.Ordinal);
        Assert.Equal(after, rig.Disk.Length);
        rig.Close();
        QemuImg.CheckIsClean(path);
        Assert.Contains($"({after} bytes)", QemuImg.Run("info", path).Output, StringComparison.Ordinal);
        Assert.Contains("4096/4096", QemuImg.RunIo("-c", $"read -v {after - 4096} 4096", path).Output, StringComparison.Ordinal);
        using var again = new DiskRig();
        Open(again, path);
        Assert.Equal(data, again.Read(after - 4096, 4096).Data);
        Assert.Equal(data, again.Read(0, 4096).Data);
    }

    [QemuFact]
    public void An_image_shorter_than_its_backing_file_does_not_grow()
    {
        using var rig = new DiskRig();
        string path = Path.Combine(rig.Directory, "disk.qcow2");
        rig.File("base.img", new byte[2 << 20]);
        Qcow2Image.Create(path, Before, "base.img");
        Open(rig, path);
        Assert.Contains("would become visible", Grow(rig, After), StringComparison.Ordinal);
    }

    private static void Open(DiskRig rig, string path) =>
        rig.Disk = new DiskImages(rig.Engine, DiskSpec.Parse(path + ",format=qcow2"), null).Open(out _);

    private static string? Grow(DiskRig rig, ulong length)
    {
        string? problem = "";
        using var done = new ManualResetEventSlim();
        rig.Loop.Post(() =>
        {
            problem = rig.Disk.Grow(length);
            done.Set();
        });
        Assert.True(done.Wait(60_000), "the loop hangs");
        return problem;
    }
}

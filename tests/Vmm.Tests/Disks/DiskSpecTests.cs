using Vmm.Backends.Disks;
using Vmm.Host;

namespace Vmm.Tests.Disks;

public sealed class DiskSpecTests
{
    [Fact]
    public void Every_option_is_understood()
    {
        DiskSpec spec = DiskSpec.Parse(
            "a,,b.img,format=qcow2,cache=none,serial=S1,blocksize=4096,queues=4,overlay=o.qcow2,backing=/b,discard=off,"
            + "iops=100,bw=10M,fault=eio@0.25,fault=latency@5,fault=torn@7,seed=42");
        Assert.Equal("a,b.img", spec.Path);
        Assert.Equal(DiskFormat.Qcow2, spec.Format);
        Assert.Equal(DiskCache.None, spec.Cache);
        Assert.Equal("S1", spec.Serial);
        Assert.Equal(4096u, spec.BlockSize);
        Assert.Equal(4, spec.Queues);
        Assert.Equal("o.qcow2", spec.Overlay);
        Assert.Equal("/b", spec.Backing);
        Assert.False(spec.Discard);
        Assert.Equal(100ul, spec.Iops);
        Assert.Equal(10ul << 20, spec.Bandwidth);
        Assert.Equal(new DiskFaults(0.25, 5, 7, 42), spec.Faults);
        Assert.True(DiskSpec.Parse("x,readonly").ReadOnly);
        Assert.True(DiskSpec.Parse("x,ephemeral").Ephemeral);
    }

    [Theory]
    [InlineData("disk.img", 0)]
    [InlineData("disk.qcow2", 1)]
    [InlineData("disk.QCow2", 1)]
    [InlineData("disk.qcow2,format=raw", 0)]
    [InlineData("disk.img,format=qcow2", 1)]
    public void The_format_comes_from_the_option_or_the_extension(string text, int format) =>
        Assert.Equal((DiskFormat)format, DiskSpec.Parse(text).Format);

    [Theory]
    [InlineData("", "no path")]
    [InlineData(",readonly", "no path")]
    [InlineData("x,bogus", "no such option 'bogus'; there are: readonly, format=raw|qcow2")]
    [InlineData("x,bogus=1", "no such option 'bogus'")]
    [InlineData("x,format=vmdk", "'format' takes another value")]
    [InlineData("x,cache", "'cache' takes another value")]
    [InlineData("x,readonly=yes", "takes no value")]
    [InlineData("x,serial=123456789012345678901", "20 ASCII")]
    [InlineData("x,blocksize=1000", "512, 1024, 2048 or 4096")]
    [InlineData("x,blocksize=8192", "512 to 4096")]
    [InlineData("x,queues=0", "1 to 64")]
    [InlineData("x,iops=-1", "iops= takes a number")]
    [InlineData("x,bw=fast", "not a size")]
    [InlineData("x,fault=eio@2", "eio@RATE")]
    [InlineData("x,fault=fire", "eio@RATE")]
    [InlineData("x,ephemeral,overlay=o", "give one")]
    [InlineData("x,readonly,ephemeral", "give one of the two")]
    [InlineData("x,backing=y", "format=qcow2")]
    public void What_is_wrong_is_said_in_one_line(string text, string part)
    {
        string message = Assert.Throws<UsageException>(() => DiskSpec.Parse(text)).Message;
        Assert.Contains(part, message, StringComparison.Ordinal);
        Assert.DoesNotContain('\n', message);
    }
}

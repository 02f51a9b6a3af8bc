using Vmm.Backends.Console;
using Vmm.Backends.Disks;
using Vmm.Backends.Networks;
using Vmm.Backends.Sockets;
using Vmm.Snapshots;

namespace Vmm.Tests.Snapshots;

/// <summary>What a machine was made of, as options that say the same again.</summary>
public sealed class OptionWordsTests
{
    [Theory]
    [InlineData("/a/disk.img")]
    [InlineData("/a/b,,c=d.qcow2,readonly")]
    [InlineData("/a/disk.qcow2,format=raw,cache=none,serial=AB,,C,blocksize=4096,queues=4,discard=off")]
    [InlineData("/a/disk.img,overlay=/b/o,,1.qcow2,iops=100,bw=5M")]
    [InlineData("/a/disk.qcow2,ephemeral,backing=/base/x.img,cache=unsafe")]
    [InlineData("/a/disk.img,fault=eio@0.001,fault=latency@3,fault=torn@77,seed=9,cache=writethrough")]
    public void A_disk(string text)
    {
        DiskSpec disk = DiskSpec.Parse(text);
        Assert.Equal(disk, DiskSpec.Parse(OptionWords.Of(disk)));
    }

    [Theory]
    [InlineData("user")]
    [InlineData("user,publish=127.0.0.1:8080:80,publish=[::1]:22,mtu=1500,pps=5,bw=1M")]
    [InlineData("tap=vmtap0,queues=4,loss=0.25,delay=3,seed=4,mac=52:54:00:12:34:56")]
    [InlineData("socket=/run/a,,b.sock")]
    public void A_card_with_its_address(string text)
    {
        byte[] mac = [2, 1, 2, 3, 4, 5];
        NetSpec net = NetSpec.Parse(text) with { Mac = mac };
        NetSpec again = NetSpec.Parse(OptionWords.Of(net, mac));
        Assert.Equal(mac, again.Mac);
        Assert.Equal(net.Published, again.Published);
        Assert.Equal(net with { Mac = null, Published = [] }, again with { Mac = null, Published = [] });
    }

    [Fact]
    public void Sockets_and_ports()
    {
        VsockSpec vsock = VsockSpec.Parse("/run/a,,b,cid=77");
        Assert.Equal(vsock, VsockSpec.Parse(OptionWords.Of(vsock)));
        PortSpec port = PortSpec.Parse("agent=/run/a,b=c");
        Assert.Equal(port, PortSpec.Parse(OptionWords.Of(port)));
    }

    /// <summary>A machine is restored in another directory.</summary>
    [Fact]
    public void Relative_paths_become_whole_ones() =>
        Assert.Equal($"{Path.GetFullPath("x/d.img")},overlay={Path.GetFullPath("o.qcow2")}", OptionWords.Of(DiskSpec.Parse("x/d.img,overlay=o.qcow2")));
}

using Vmm.Backends.Disks;
using Vmm.Backends.Networks;
using Vmm.Host;
using Vmm.Machines;

namespace Vmm.Tests.Networks;

public sealed class NetSpecTests
{
    [Fact]
    public void Every_option_is_understood()
    {
        NetSpec spec = NetSpec.Parse(
            "tap=tap0,mac=52:54:00:12:34:Ab,mtu=1400,queues=4,pps=1000,bw=10M,loss=0.25,delay=50,seed=42");
        Assert.Equal((NetMode.Tap, "tap0"), (spec.Mode, spec.Target));
        Assert.Equal([0x52, 0x54, 0, 0x12, 0x34, 0xab], spec.Mac!);
        Assert.Equal(1400, spec.Mtu);
        Assert.Equal(4, spec.Queues);
        Assert.Equal((1000ul, 10ul << 20), (spec.FrameLimit, spec.Bandwidth));
        Assert.Equal(new NetFaults(0.25, 50, 42), spec.Faults);

        NetSpec user = NetSpec.Parse("user,publish=8080:80,publish=53,publish=127.0.0.1:2222:22,publish=[::1]:2222:22");
        Assert.Equal(NetMode.User, user.Mode);
        Assert.Equal(
            [new PublishedPort(null, 8080, 80), new(null, 53, 53), new("127.0.0.1", 2222, 22), new("::1", 2222, 22)],
            user.Published);
        Assert.Equal("/tmp/a,b", NetSpec.Parse("socket=/tmp/a,,b").Target);
    }

    [Theory]
    [InlineData("", "no such mode ''; there are user, tap=NAME, socket=PATH")]
    [InlineData("bridge", "no such mode 'bridge'")]
    [InlineData("user=1", "no such mode 'user=1'")]
    [InlineData("tap", "no such mode 'tap'")]
    [InlineData("tap=", "name of an interface")]
    [InlineData("tap=a/b", "name of an interface")]
    [InlineData("tap=0123456789abcdef", "up to 15 characters")]
    [InlineData("socket=", "no such mode 'socket='")]
    [InlineData("user,bogus", "no such option 'bogus'; there are: mac=ADDRESS")]
    [InlineData("user,mac", "'mac' takes a value")]
    [InlineData("user,mac=01:00:00:00:00:00", "not multicast")]
    [InlineData("user,mac=00:00:00:00:00:00", "six bytes")]
    [InlineData("user,mac=2:0:0:0:0:1", "six bytes")]
    [InlineData("user,mtu=67", "from 68 to 65535")]
    [InlineData("tap=t,queues=17", "from 1 to 16")]
    [InlineData("user,queues=2", "queues= goes with tap=")]
    [InlineData("tap=t,publish=80", "publish= goes with user")]
    [InlineData("user,publish=", "publish= takes")]
    [InlineData("user,publish=0:80", "publish= takes")]
    [InlineData("user,publish=80:65536", "publish= takes")]
    [InlineData("user,publish=1:2:3", "publish= takes")]
    [InlineData("user,publish=::1:80:80", "publish= takes")]
    [InlineData("user,publish=1.2.3:80:80", "publish= takes")]
    [InlineData("user,publish=[127.0.0.1]:80:80", "publish= takes")]
    [InlineData("user,publish=80,publish=80:8080", "published twice")]
    [InlineData("user,pps=0", "pps= takes a number")]
    [InlineData("user,bw=fast", "not a size")]
    [InlineData("user,bw=0", "must be above zero")]
    [InlineData("user,loss=1.5", "from 0 to 1")]
    [InlineData("user,loss=-1", "from 0 to 1")]
    [InlineData("user,delay=60001", "to 60000")]
    public void What_is_wrong_is_said_in_one_line(string text, string part)
    {
        string message = Assert.Throws<UsageException>(() => NetSpec.Parse(text)).Message;
        Assert.StartsWith("--net " + text + ":", message, StringComparison.Ordinal);
        Assert.Contains(part, message, StringComparison.Ordinal);
        Assert.DoesNotContain('\n', message);
    }

    [Fact]
    public void A_derived_address_is_stable_unicast_locally_administered_and_differs()
    {
        // Written down here, because a change would give every machine another address.
        Assert.Equal("9a:9f:2a:62:c9:d2", MacAddress.Format(MacAddress.Derive("vmm", 0)));
        var seen = new HashSet<string>();
        foreach (string name in new[] { "vmm", "a", "b", "web", "/srv/web.img" })
        {
            for (int card = 0; card < 4; card++)
            {
                byte[] mac = MacAddress.Derive(name, card);
                Assert.Equal(2, mac[0] & 3);
                Assert.True(seen.Add(MacAddress.Format(mac)));
            }
        }
    }

    [Fact]
    public void A_machine_without_a_name_is_known_by_its_disk()
    {
        var options = new MachineSpec { Kernel = "k" };
        Assert.Equal("vmm", options.Identity);
        Assert.Equal("/srv/a.img", (options with { Disks = [DiskSpec.Parse("/srv/b/../a.img,ephemeral")] }).Identity);
        Assert.Equal("n", (options with { Name = "n", Disks = [DiskSpec.Parse("/srv/a.img")] }).Identity);
        Assert.Throws<UsageException>(() => MachineSpec.CheckName(""));
    }

    [Fact]
    public void Routes_out_of_the_host_are_found()
    {
        const string Eth0 = "eth0\t00000000\t010200C0\t0003\t0\t0\t0\t00000000\t0\t0\t0";
        const string Subnet = "eth0\t000200C0\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0";
        string zero = new('0', 32);
        string six = $"{zero} 00 {zero} 00 fd000000000000000000000000000001 00000400 00000002 00000000 00000003     eth0";
        string none = $"{zero} 00 {zero} 00 {zero} ffffffff 00000001 00000000 00200200       lo";
        Assert.True(HostRoutes.AnyDefault(["Iface\tDestination", Eth0, Subnet], []));
        Assert.True(HostRoutes.AnyDefault([], [none, six]));
        Assert.False(HostRoutes.AnyDefault(["Iface\tDestination", Subnet], [none]));
        Assert.False(HostRoutes.AnyDefault([], []));
    }

    [Fact]
    public void Passt_is_told_of_every_port_for_both_protocols()
    {
        Assert.Equal(
            ["--quiet", "--fd", "3", "--tcp-ports", "8080:80", "--udp-ports", "8080:80", "--tcp-ports", "127.0.0.1/22:22",
                "--udp-ports", "127.0.0.1/22:22"],
            Passt.Arguments([new PublishedPort(null, 8080, 80), new PublishedPort("127.0.0.1", 22, 22)], localOnly: false));
        Assert.Contains("10.0.2.2", Passt.Arguments([], localOnly: true));
    }

    [Fact]
    public void Passt_writes_where_it_may_or_not_at_all()
    {
        Assert.Equal("/tmp", Passt.FindDirectory([null, "relative", "/nothing", "/proc/self", "/tmp", "/var/tmp"]));
        Assert.Null(Passt.FindDirectory([null, "/nothing", "/dev/null"]));
    }
}

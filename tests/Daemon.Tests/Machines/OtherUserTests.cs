using Vmm.Daemon.Api;
using Vmm.Daemon.Hosting;
using Vmm.Daemon.Machines;
using Vmm.Daemon.Tests.StandIns;

namespace Vmm.Daemon.Tests.Machines;

/// <summary>What users other than vmmd's own may ask for.</summary>
public sealed class OtherUserTests
{
    private static readonly Peer Other = new(Peer.Self + 12345);

    [Fact]
    public void Files_are_those_of_the_directories_that_were_opened_whatever_links_say()
    {
        using var homes = new TestHomes();
        string open = Directory.CreateDirectory(homes.Root + "/open").FullName;
        File.WriteAllText(open + "/disk.img", "");
        File.WriteAllText(homes.Root + "/secret", "");
        Directory.CreateDirectory(homes.Root + "/openish");
        File.WriteAllText(homes.Root + "/openish/x", "");
        File.CreateSymbolicLink(open + "/link", homes.Root + "/secret");
        File.CreateSymbolicLink(open + "/loop", open + "/loop");
        File.CreateSymbolicLink(homes.Root + "/in", open);
        var rights = new FileRights([open], Other);
        Assert.Null(rights.Fault(open + "/disk.img"));
        Assert.Null(rights.Fault(homes.Root + "/in/../open/./disk.img"));
        foreach (string path in (string[])[
            homes.Root + "/secret", open + "/link", open + "/../secret", homes.Root + "/in/../secret", open + "/loop",
            homes.Root + "/openish/x", open + "/missing", "/", "disk.img"])
        {
            Assert.NotNull(rights.Fault(path));
        }

        Assert.Null(new FileRights([], new Peer(Peer.Self)).Fault(homes.Root + "/secret"));
    }

    [Fact]
    public void The_hosts_own_files_and_interfaces_are_not_theirs()
    {
        RequestException error = Assert.Throws<RequestException>(() => MachineCommandLine.Of(
            new MachineRequest
            {
                Name = "a",
                Kernel = "/boot/vmlinuz",
                Command = ["true"],
                Disks = [new MachineDisk { Path = "/dev/sda" }],
                Networks = [new MachineNetwork { Mode = "tap", Tap = "tap0" }],
                Shares = [new MachineShare { Path = "/etc", MountAt = "/mnt" }],
            },
            new FileRights([], Other),
            Other));
        Assert.Equal(["disks[0].path", "kernel", "networks[0].mode", "root", "shares[0].path"], error.Faults.Keys.Order(StringComparer.Ordinal));
    }

    [Fact]
    public void Nothing_in_a_request_becomes_an_option()
    {
        MachineCommandLine line = MachineCommandLine.Of(
            new MachineRequest
            {
                Name = "a",
                Kernel = "--help",
                KernelCommandLine = "--trace=/etc/passwd",
                Command = ["--", "--keep", "x"],
                Environment = new Dictionary<string, string> { ["A"] = "--b" },
                User = "-x",
                Root = "none",
            },
            new FileRights([], Other),
            Other);
        Assert.Equal(
            ["run", "--config=none", "--detach", "--name=a", "--mem=256M", "--cpus=1", "--kernel=--help", "--cmdline=--trace=/etc/passwd",
                "--root=none", "--env=A=--b", "--user=-x", "--", "--", "--keep", "x"],
            line.Words);
    }

    [Fact]
    public void They_see_their_own_machines_only()
    {
        Assert.True(Other.MaySee(Other.Uid));
        Assert.False(Other.MaySee(Peer.Self));
        Assert.False(Other.MaySee(0));
        Assert.True(new Peer(0).MaySee(Other.Uid));
    }
}

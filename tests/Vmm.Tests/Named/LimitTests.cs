using Vmm.Host;
using Vmm.Named.Limits;

namespace Vmm.Tests.Named;

/// <summary>Limits by cgroups, in directories that stand in for /sys/fs/cgroup.</summary>
public sealed class LimitTests : IDisposable
{
    private const int Process = 4321;

    private readonly string _root = Directory.CreateTempSubdirectory("vmm-cgroup-").FullName;

    public void Dispose() => Directory.Delete(_root, recursive: true);

    [Fact]
    public void A_process_is_found_among_cgroups_of_both_versions()
    {
        var mounts = CgroupMounts.Parse(
            """
            31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
            32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,relatime - cgroup cgroup rw,cpu,cpuacct
            35 31 0:32 /docker/7 /sys/fs/cgroup/memory rw,relatime shared:9 - cgroup cgroup rw,memory
            41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw
            """,
            """
            4:memory:/docker/7/a
            1:cpu,cpuacct:/
            0::/user.slice/session-1.scope
            """);
        Assert.Equal(new CgroupPlace("/sys/fs/cgroup/unified", "/sys/fs/cgroup/unified/user.slice/session-1.scope"), mounts.Unified);
        Assert.Equal(new CgroupPlace("/sys/fs/cgroup/cpu,cpuacct", "/sys/fs/cgroup/cpu,cpuacct"), mounts.Find("cpu"));
        Assert.Equal(new CgroupPlace("/sys/fs/cgroup/memory", "/sys/fs/cgroup/memory/a"), mounts.Find("memory"));
        Assert.Null(mounts.Find("io"));
    }

    [Fact]
    public void Of_v2_the_nearest_group_that_gives_its_controllers_on_is_taken()
    {
        // A file system that is none of cgroups makes no files of its own: those that are written are made here.
        string slice = Group("slice", "cpu memory", "cpu memory"), own = Group("slice/own", "", "");
        Group("slice/vmm-db", "cpu memory", "");
        string[] made = [.. Cgroup.Enter("db", new MachineLimits(1.5, 64 << 20), V2(own), Process)];
        Assert.Equal([Path.Combine(slice, "vmm-db")], made);
        Assert.Equal("4321", File.ReadAllText(Path.Combine(made[0], "cgroup.procs")));
        Assert.Equal("150000 100000", File.ReadAllText(Path.Combine(made[0], "cpu.max")));
        Assert.Equal("67108864", File.ReadAllText(Path.Combine(made[0], "memory.high")));
        new Cgroup(made[0]).Set(new MachineLimits(null, null));
        Assert.Equal("max 100000", File.ReadAllText(Path.Combine(made[0], "cpu.max")));
        Assert.Equal("max", File.ReadAllText(Path.Combine(made[0], "memory.high")));
    }

    /// <summary>io.max has a line for each device; blkio.throttle a file for each limit, in which 0 is none.</summary>
    [Fact]
    public void Input_and_output_are_limited_for_each_block_device_in_both_versions()
    {
        string own = Group("own", "io", "io");
        Group("own/vmm-db", "io", "");
        File.WriteAllText(Path.Combine(own, "vmm-db", "io.max"), "");
        var group = new Cgroup(Assert.Single(Cgroup.Enter("db", new MachineLimits(null, null, new IoLimit(1 << 20, null)), V2(own), Process)));
        Assert.True(group.Has(LimitKind.Io));
        group.Set(new MachineLimits(null, null, new IoLimit(1 << 20, null)), static () => ["254:0"]);
        Assert.Equal("254:0 rbps=1048576 wbps=1048576 riops=max wiops=max", File.ReadAllText(Path.Combine(group.Path, "io.max")));
        group.Set(MachineLimits.None, static () => ["254:0"]);
        Assert.Equal("254:0 rbps=max wbps=max riops=max wiops=max", File.ReadAllText(Path.Combine(group.Path, "io.max")));

        string old = Directory.CreateDirectory(Path.Combine(_root, "blkio", "vmm-db")).FullName;
        string[] files = [.. ((string[])["read_bps", "write_bps", "read_iops", "write_iops"]).Select(file => Path.Combine(old, $"blkio.throttle.{file}_device"))];
        Array.ForEach(files, static file => File.WriteAllText(file, ""));
        new Cgroup(old).Set(new MachineLimits(null, null, new IoLimit(null, 500)), static () => ["8:16"]);
        Assert.Equal(["8:16 0", "8:16 0", "8:16 500", "8:16 500"], files.Select(File.ReadAllText));
        Assert.Throws<HostException>(() => new Cgroup(old).Set(new MachineLimits(null, null, new IoLimit(null, 500)), static () => []));
    }

    [Fact]
    public void Devices_that_hold_nothing_are_left_out()
    {
        foreach ((string name, string dev, string size) in ((string, string, string)[])[("loop0", "7:0", "0"), ("sda", "8:0", "2048"), ("vda", "254:0", "64")])
        {
            string path = Directory.CreateDirectory(Path.Combine(_root, "block", name)).FullName;
            File.WriteAllText(Path.Combine(path, "dev"), dev + "\n");
            File.WriteAllText(Path.Combine(path, "size"), size + "\n");
        }

        Assert.Equal(["8:0", "254:0"], BlockDevices.Find(Path.Combine(_root, "block")));
        Assert.Empty(BlockDevices.Find(Path.Combine(_root, "none")));
    }

    [Fact]
    public void A_limit_of_input_and_output_is_bytes_requests_or_both()
    {
        Assert.Equal(new IoLimit(50 << 20, 500), IoLimit.Parse("bw=50M,iops=500"));
        Assert.Equal(new IoLimit(null, 1), IoLimit.Parse("iops=1"));
        Assert.Null(IoLimit.Parse("none"));
        foreach (string wrong in (string[])["", "50M", "bw=", "bw=1K", "iops=0", "iops=-1", "bw=1M,bw=2M", "bw=1M,none", "bw=1M,"])
        {
            string line = Assert.Throws<UsageException>(() => IoLimit.Parse(wrong)).Message;
            Assert.StartsWith("--io-limit ", line, StringComparison.Ordinal);
        }
    }

    [Fact]
    public void Where_nothing_is_delegated_one_line_says_what_is_missing()
    {
        string own = Group("own", "pids", "");
        string message = Assert.Throws<HostException>(() => Cgroup.Enter("db", new MachineLimits(1, null), V2(own), Process)).Message;
        Assert.StartsWith("--cpu-limit: ", message, StringComparison.Ordinal);
        Assert.Contains("'cpu'", message, StringComparison.Ordinal);
        Assert.Contains("Delegate=yes", message, StringComparison.Ordinal);
        Assert.Empty(Cgroup.Enter("db", MachineLimits.None, V2(own), Process));
    }

    [Theory]
    [InlineData("1.5", 1.5)]
    [InlineData("none", null)]
    public void A_limit_of_processors_is_a_number_or_none(string text, double? limit) => Assert.Equal(limit, MachineLimits.ParseCpu(text));

    [Theory]
    [InlineData("")]
    [InlineData("0")]
    [InlineData("-1")]
    [InlineData("1,5")]
    [InlineData("nan")]
    [InlineData("1e3")]
    [InlineData("99999")]
    public void Other_limits_are_mistakes(string text) => Assert.Throws<UsageException>(() => MachineLimits.ParseCpu(text));

    [Fact]
    public void A_limit_of_memory_leaves_vmm_itself_room()
    {
        Assert.Equal(64UL << 20, MachineLimits.ParseMemory("64M"));
        Assert.Throws<UsageException>(() => MachineLimits.ParseMemory("1M"));
    }

    [Fact]
    public void The_processors_of_v2_are_those_of_the_narrowest_group()
    {
        string slice = Group("slice", "cpu", "cpu"), own = Group("slice/own", "", "");
        Assert.Null(HostProcessors.Limit(V2(own)));
        File.WriteAllText(Path.Combine(own, "cpu.max"), "800000 100000\n");
        Assert.Equal(8, HostProcessors.Limit(V2(own)));
        File.WriteAllText(Path.Combine(slice, "cpu.max"), "250000 100000\n");
        Assert.Equal(3, HostProcessors.Limit(V2(own)));
        File.WriteAllText(Path.Combine(slice, "cpu.max"), "50000 100000\n");
        Assert.Equal(1, HostProcessors.Limit(V2(own)));
        File.WriteAllText(Path.Combine(slice, "cpu.max"), "max 100000\n");
        File.Delete(Path.Combine(own, "cpu.max"));
        Assert.Null(HostProcessors.Limit(V2(own)));
        Assert.InRange(HostProcessors.Count, 1, Environment.ProcessorCount);
    }

    [Fact]
    public void The_processors_of_v1_are_those_of_the_own_group()
    {
        string own = Directory.CreateDirectory(Path.Combine(_root, "a")).FullName;
        CgroupMounts mounts = CgroupMounts.Parse($"32 31 0:29 / {_root} rw,relatime - cgroup cgroup rw,cpu,cpuacct", "1:cpu,cpuacct:/a");
        File.WriteAllText(Path.Combine(own, "cpu.cfs_period_us"), "100000\n");
        File.WriteAllText(Path.Combine(own, "cpu.cfs_quota_us"), "-1\n");
        Assert.Null(HostProcessors.Limit(mounts));
        File.WriteAllText(Path.Combine(own, "cpu.cfs_quota_us"), "150000\n");
        Assert.Equal(2, HostProcessors.Limit(mounts));
    }

    private CgroupMounts V2(string own) => CgroupMounts.Parse(
        $"41 31 0:38 / {_root} rw,relatime - cgroup2 cgroup2 rw", $"0::{own[_root.Length..]}");

    private string Group(string name, string controllers, string given)
    {
        string path = Directory.CreateDirectory(Path.Combine(_root, name)).FullName;
        File.WriteAllText(Path.Combine(path, "cgroup.controllers"), controllers + "\n");
        File.WriteAllText(Path.Combine(path, "cgroup.subtree_control"), given + "\n");
        foreach (string file in (string[])["cpu.max", "memory.high"])
        {
            File.WriteAllText(Path.Combine(path, file), "max");
        }

        return path;
    }
}

using System.Diagnostics;
using System.Globalization;
using Vmm.Host;
using Vmm.Named.Limits;

namespace Vmm.Tests.Named;

/// <summary>Limits by this host's own cgroups: what its kernel makes of what is written.</summary>
public sealed class RealLimitTests
{
    [RealCgroupFact]
    public void The_kernel_takes_a_limit_of_input_and_output_and_takes_it_away()
    {
        using var process = Process.Start("sleep", "1000");
        IReadOnlyList<string> groups = [];
        try
        {
            groups = Enter(process.Id);
            var group = new Cgroup(Assert.Single(groups));
            Assert.Contains($"/{Path.GetFileName(group.Path)}\n", File.ReadAllText($"/proc/{process.Id}/cgroup"), StringComparison.Ordinal);
            string device = BlockDevices.Find()[0];
            Assert.Contains(LimitsOf(group), line => line.StartsWith(device + " ", StringComparison.Ordinal) && line.Contains("1048576", StringComparison.Ordinal));
            group.Set(MachineLimits.None);
            Assert.Empty(LimitsOf(group));
        }
        finally
        {
            process.Kill();
            process.WaitForExit();
            foreach (string path in groups)
            {
                new Cgroup(path).Remove();
                Assert.False(Directory.Exists(path));
            }
        }
    }

    /// <summary>The kernel lists a device only while it has a limit.</summary>
    private static string[] LimitsOf(Cgroup group) =>
        [.. ((string[])["io.max", "blkio.throttle.read_bps_device"]).Select(file => Path.Combine(group.Path, file)).Where(File.Exists).SelectMany(File.ReadAllLines)];

    private static IReadOnlyList<string> Enter(int process) => Cgroup.Enter(
        string.Create(CultureInfo.InvariantCulture, $"test-{process}"), new MachineLimits(null, null, new IoLimit(1 << 20, null)),
        CgroupMounts.OfThisProcess(), process);

    [AttributeUsage(AttributeTargets.Method)]
    private sealed class RealCgroupFactAttribute : FactAttribute
    {
        public RealCgroupFactAttribute()
        {
            using var process = Process.Start("sleep", "1000");
            IReadOnlyList<string> groups = [];
            try
            {
                groups = Enter(process.Id);
            }
            catch (HostException error)
            {
                Skip = error.Message;
            }

            process.Kill();
            process.WaitForExit();
            foreach (string path in groups)
            {
                new Cgroup(path).Remove();
            }
        }
    }
}
